"""A mail server's first words, with STARTTLS: what comes in after it is encrypted. It keeps no mail.

Run it, then try:  openssl s_client -starttls smtp -connect localhost:4040 -quiet
"""

import ssl
import subprocess
import sys
import tempfile

import trews
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


def certificate(directory):
    """One that no client trusts, for trying. Yours is signed by an authority."""
    cert, key = f"{directory}/cert.pem", f"{directory}/key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    subprocess.run([*command.split(), "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        tls_context.load_cert_chain(*(sys.argv[1:] or certificate(directory)))
    trews.serve(Mail, "localhost:4040")
