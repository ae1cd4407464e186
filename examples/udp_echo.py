"""Echo for datagrams: sends each one back to where it came from.

Run it, then try it from another terminal:  trews connect udp:localhost:4040
"""

import trews


class UDPEcho(trews.Datagram):
    def on_read(self, data, address):
        self.write(data, address)


if __name__ == "__main__":
    trews.serve(UDPEcho, "udp:localhost:4040")
