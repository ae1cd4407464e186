"""Echo of datagrams: an asyncio DatagramProtocol, on the loop that the style names."""

import asyncio

from options import loop_factory, options

told = options("asyncio", "uvloop")


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def main():
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.1", told.port))
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=loop_factory(told.style)) as runner:
    runner.run(main())
