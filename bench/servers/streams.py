"""asyncio's streams, on the loop that the style names."""

import asyncio

from options import HEAD_END, loop_factory, options

told = options("asyncio", "uvloop")


async def handle(reader, writer):
    try:
        while await (reader.read(65536) if told.any else reader.readuntil(HEAD_END)):
            writer.write(told.answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", told.port, backlog=1024)
    await server.serve_forever()


with asyncio.Runner(loop_factory=loop_factory(told.style)) as runner:
    runner.run(main())
