"""An asyncio Protocol, on the loop that the style names."""

import asyncio

from options import loop_factory, options

told = options("asyncio", "uvloop", "aiofastnet", "trews")


class Canned(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(told.answer)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Canned, "127.0.0.1", told.port, ssl=told.context, backlog=1024)
    await server.serve_forever()


with asyncio.Runner(loop_factory=loop_factory(told.style)) as runner:
    runner.run(main())
