"""Echo of datagrams: trews, in the style named."""

from options import options

import trews

told = options("callbacks", "await")


class Echo(trews.Datagram):
    def on_read(self, data, address):
        self.write(data, address)


class Awaiting(trews.Datagram):
    async def on_open(self):
        async for data, address in self:
            self.write(data, address)


trews.serve({"callbacks": Echo, "await": Awaiting}[told.style], f"udp:127.0.0.1:{told.port}")
