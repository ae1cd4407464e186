"""A connection that answers, and two ways to have it answer, for tests of what users do to classes."""

from __future__ import annotations

import asyncio

import trews
from trews.framing import Decoder, Framer
from trews.testing import wire


class Upper(trews.Connection):
    framer = b"\n"

    def on_read(self, line):
        self.send(line.upper())


def in_memory(cls, data, **settings):
    w = wire(cls, **settings).feed(data).eof().advance(1)
    return w.sent()


def on_a_socket(cls, data, **settings):
    async def main():
        async with trews.Server(cls, **settings).listen("tcp:127.0.0.1:0") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                writer.write(data)
                writer.write_eof()
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()
                await writer.wait_closed()

    return trews.run(main())


class Fixed(Framer):
    """A framer of a user's: two bytes are a message."""

    size = 2

    def decoder(self):
        return FixedDecoder(self.size)

    def encode(self, message):
        return message


class FixedDecoder(Decoder):
    def __init__(self, size):
        self.size = size

    def decode(self, buffer, scanned):
        if len(buffer) < self.size:
            return self.size
        return bytes(buffer[: self.size]), self.size
