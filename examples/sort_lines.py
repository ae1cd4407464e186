"""Sorts lines: each connection gets a `sort` of its own, as inetd would do it.

Run it, then try:  printf 'b\\na\\n' | trews connect localhost:4040
"""

import trews


async def carry(source, target):
    """Pass on what comes, at the pace of the slower side, and then its end."""
    async for data in source:
        await target.send(data)
    target.close_write()


async def sort(conn):
    async with trews.connect("exec:sort") as program:
        conn.spawn(carry(conn, program))
        await carry(program, conn)


if __name__ == "__main__":
    trews.serve(sort, "localhost:4040")
