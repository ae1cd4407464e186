"""Answers each line in capitals, as a coroutine that reads and sends.

Run it, then try:  printf 'hello\\nworld\\n' | trews connect localhost:4040
"""

import trews
from trews.framing import Line


class Upper(trews.Connection):
    framer = Line(ends=(b"\n",), encoding="utf-8")

    async def on_connect(self):
        async for line in self:
            await self.send(line.upper())


if __name__ == "__main__":
    trews.serve(Upper, "localhost:4040")
