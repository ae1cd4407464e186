"""Answers each line in capitals, as a coroutine that reads and sends.

Run it, then try:  printf 'hello\\nworld\\n' | trews connect localhost:4040
"""

import trews
from trews.framing import Line


async def upper(conn):
    async for line in conn:
        await conn.send(line.upper())


if __name__ == "__main__":
    trews.serve(upper, "localhost:4040", framer=Line(encoding="utf-8"))
