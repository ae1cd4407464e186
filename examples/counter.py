"""Counts the clients of each server: everybody is told when the number changes, however somebody left.

Run it, then join from several terminals:  trews connect localhost:4040
"""

import trews
from trews.framing import Line


class Counter(trews.Connection):
    framer = Line(encoding="utf-8")

    def on_connect(self):
        self.announce()

    def on_close(self, reason):
        self.announce()

    def announce(self):
        # A connection that is closing is not among the server's connections any more.
        self.server.broadcast(f"connected clients: {len(self.server.connections)}")


if __name__ == "__main__":
    trews.serve(Counter, "localhost:4040")
