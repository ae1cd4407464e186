"""A mail server's first words, with STARTTLS: what comes in after it is encrypted. It keeps no mail.

Run it, then try:  openssl s_client -starttls smtp -connect localhost:4040 -quiet
"""

import ssl
import sys

import trews
from trews.cli.selfsigned import self_signed
from trews.framing import Line

tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Mail(trews.Connection):
    framer = Line(encoding="utf-8")

    def on_connect(self):
        self.send("220 localhost ESMTP")

    def on_read(self, line):
        command = line.partition(" ")[0].upper()
        if command == "EHLO":
            self.send("250-localhost")
            self.send("250 STARTTLS" if self.tls is None else "250 8BITMIME")
        elif command == "STARTTLS" and self.tls is None:
            # Not send() and then start_tls(): the client's first record would come too early.
            self.start_tls(tls_context, reply=b"220 Go ahead\r\n")
        elif command == "QUIT":
            self.send("221 Bye")
            self.close()
        elif self.tls is None:
            self.send("530 Must issue a STARTTLS command first")
        else:
            self.send(f"502 {command}: not in this example, over {self.tls.version}")


if __name__ == "__main__":
    cert, key = sys.argv[1:] or self_signed(["localhost"])
    tls_context.load_cert_chain(cert, key)
    trews.serve(Mail, "localhost:4040")
