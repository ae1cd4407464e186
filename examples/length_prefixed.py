"""Messages after their length in two bytes, cut by changing `framer` and `on_read` from message to message.

Run it, then try:  python examples/length_prefixed.py hello world
(`trews.framing.Prefixed("!H")` does the same in one word.)
"""

import sys

import trews


def packed(body):
    return len(body).to_bytes(2, "big") + body


class LengthPrefixed(trews.Connection):
    framer = 2  # bytes of the header

    def on_header(self, header):
        self.framer = int.from_bytes(header, "big")
        self.on_read = self.on_body

    def on_body(self, body):
        self.write(packed(body.upper()))
        self.framer = 2
        self.on_read = self.on_header

    on_read = on_header


async def ask(endpoint, *bodies):
    """Send some messages to the server and return its answers."""
    async with trews.connect(endpoint) as conn:
        for body in bodies:
            conn.write(packed(body))
        answers = []
        for _ in bodies:
            header = await conn.read(2, timeout=10)
            answers.append(await conn.read(int.from_bytes(header, "big"), timeout=10))
        return answers


if __name__ == "__main__":
    words = [word.encode() for word in sys.argv[1:]]
    if words:
        print(trews.run(ask("localhost:4040", *words)))
    else:
        trews.serve(LengthPrefixed, "localhost:4040")
