"""A framer of your own: payloads between STX and ETX, as serial devices send them.

Run it, then try:  printf '\\002hello\\003' | nc localhost 4040
"""

from dataclasses import dataclass

import trews
from trews.errors import FramingError, MessageTooLong
from trews.framing import Decoder, Framer

STX, ETX = b"\x02", b"\x03"


class StxEtxDecoder(Decoder):
    def decode(self, buffer, scanned):
        if not buffer.startswith(STX):
            raise FramingError(f"expected STX, got {bytes(buffer[:1])!r}")
        stop = buffer.find(ETX, scanned)  # what was scanned before has no ETX
        size = (stop if stop >= 0 else len(buffer)) - 1
        if size > self.limit:
            raise MessageTooLong(f"more than {self.limit} bytes between STX and ETX")
        if stop < 0:
            return len(buffer) + 1
        return bytes(buffer[1:stop]), stop + 1


@dataclass(frozen=True)
class StxEtx(Framer):
    def decoder(self):
        return StxEtxDecoder()

    def encode(self, message):
        if ETX in message:
            raise ValueError("a message cannot contain ETX")
        return STX + message + ETX


async def echo(conn):
    async for message in conn:
        await conn.send(message.upper())


if __name__ == "__main__":
    trews.serve(echo, "localhost:4040", framer=StxEtx())
