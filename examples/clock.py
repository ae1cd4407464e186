"""A broadcast clock: tells the time to everybody, every second.

Run it, then join from several terminals:  trews connect localhost:4040
"""

import time

import trews
from trews.framing import Line


class Clock(trews.Connection):
    framer = Line(encoding="ascii")  # no on_read: what clients send is thrown away


class ClockServer(trews.Server):
    def __init__(self, now=time.time):
        super().__init__(Clock)
        self.now = now

    def on_start(self):
        self.timer = trews.every(1, self.tick)

    def tick(self):
        self.broadcast(time.strftime("%H:%M:%S", time.gmtime(self.now())))

    def on_stop(self):
        self.timer.cancel()


if __name__ == "__main__":
    trews.serve(ClockServer(), "localhost:4040")
