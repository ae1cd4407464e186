"""A simulation with a main loop of its own, which serves connections between its frames: watch a ball, and kick it.

Run it, then in another terminal:  trews connect localhost:4040   (and say: kick)
"""

import itertools

import trews
from trews.framing import Line

FRAME = 1 / 50  # seconds


class Spectator(trews.Connection):
    framer = Line(encoding="ascii")

    def on_read(self, line):
        if line == "kick":
            self.server.speed += 10
        else:
            self.send("say: kick")


class Arena(trews.Server):
    height, speed = 10.0, 0.0  # of the ball: metres, and metres a second upwards

    def move(self):
        self.speed -= 9.81 * FRAME
        self.height += self.speed * FRAME
        if self.height < 0:
            self.height, self.speed = 0.0, -0.7 * self.speed

    def play(self, loop, frames):
        """Move the ball once a frame, and tell everybody each half second. The time between is the network's."""
        due = loop.time()
        for frame in frames:
            self.move()
            if frame % 25 == 0:
                self.broadcast(f"{self.height:.1f} m")
            due += FRAME
            loop.step(0)  # also when there is no time left
            while (left := due - loop.time()) > 0:
                loop.step(left)


async def stop(server):
    await server.stop()


if __name__ == "__main__":
    loop = trews.EventLoop()
    arena = Arena(Spectator).listen("localhost:4040")
    loop.run_until_complete(arena.start())
    try:
        arena.play(loop, itertools.count())
    except KeyboardInterrupt:
        loop.run_until_complete(stop(arena))
    loop.close()
