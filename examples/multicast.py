"""Who is there: each copy of this program tells its name to a multicast group, and shows the names that it hears.

Run it, then again in other terminals, and on other machines of the same network:  python examples/multicast.py anna
"""

import getpass
import sys

import trews

GROUP = "udp:239.255.40.40:4040"
MOST = 1000  # anybody can send names; do not remember them all


class Presence(trews.Datagram):
    def on_open(self):
        self.seen = set()
        self.timer = trews.every(1, self.tell, now=True)

    def tell(self):
        self.write(self.server.name.encode())  # an endpoint that is a group sends there

    def on_read(self, data, address):
        name = ascii(data.decode("utf-8", "replace"))
        if name not in self.seen and len(self.seen) < MOST:
            self.seen.add(name)
            print(f"{name} is at {address[0]}", flush=True)

    def on_close(self, reason):
        self.timer.cancel()


class Neighbours(trews.Server):
    def __init__(self, name):
        super().__init__(Presence)
        self.name = name


if __name__ == "__main__":
    me = sys.argv[1] if len(sys.argv) > 1 else getpass.getuser()
    trews.serve(Neighbours(me), GROUP)
