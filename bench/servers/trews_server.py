"""trews, in the style named: callbacks, with a framer, or awaiting."""

from options import HEAD_END, options

import trews

told = options("callbacks", "framer", "await", "await-framer")


class Callbacks(trews.Connection):
    def on_read(self, data):
        self.write(told.answer)


class Framer(Callbacks):
    framer = HEAD_END


async def awaiting(conn):
    while True:
        await conn.read()
        conn.write(told.answer)


async def awaiting_framer(conn):
    while True:
        await conn.read(HEAD_END)
        conn.write(told.answer)


handler = {"callbacks": Callbacks, "framer": Framer, "await": awaiting, "await-framer": awaiting_framer}[told.style]
endpoint = f"tcp:127.0.0.1:{told.port}"
if told.tls:
    endpoint = f"tls:127.0.0.1:{told.port}?cert={told.tls}/cert.pem&key={told.tls}/key.pem"
trews.serve(handler, endpoint)
