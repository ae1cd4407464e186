"""A board that passes on every line, and a client that stays with it, however often it goes away and comes back.

Run it, then try:  python examples/reconnecting_client.py hello
Stop the board with Ctrl-C and start it again: the client says so, and goes on.
"""

import asyncio
import sys

import trews
from trews.framing import Line

LINES = Line(encoding="utf-8")


class Board(trews.Connection):
    framer = LINES

    def on_read(self, line):
        self.server.broadcast(line)


class Reader(trews.Client):
    """Posts a line every second, and shows what it reads."""

    def __init__(self, endpoint, line, show=print):
        super().__init__(endpoint, self.read, queue=60, framer=LINES)  # a minute's lines are kept while it is down
        self.line = line
        self.show = show

    async def read(self, conn):
        async for line in conn:
            self.show(line)

    def on_up(self, connection):
        self.show("(connected)")

    def on_down(self, reason):
        self.show(f"({reason})")

    def post(self):
        try:
            self.send(self.line)
        except trews.ConnectionClosed as exc:
            self.show(f"({exc})")


async def main(endpoint, line, seconds=3600, show=print):
    async with Reader(endpoint, line, show) as reader:
        timer = trews.every(1, reader.post)
        await asyncio.sleep(seconds)
        timer.cancel()


if __name__ == "__main__":
    words = " ".join(sys.argv[1:])
    if words:
        trews.run(main("localhost:4040", words))
    else:
        trews.serve(Board, "localhost:4040")
