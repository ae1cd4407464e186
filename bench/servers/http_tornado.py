"""Tornado's web server."""

import asyncio
import logging

from options import LARGE, PIECE, PIECES, TEXT, options
from tornado import web

told = options()
logging.getLogger("tornado.access").setLevel(logging.ERROR)


class Hello(web.RequestHandler):
    def get(self):
        self.write(TEXT)


class Size(web.RequestHandler):
    def get(self):
        self.write(str(len(self.request.body)))

    post = get


class Large(web.RequestHandler):
    def get(self):
        self.write(LARGE)


class Pieces(web.RequestHandler):
    async def get(self):
        for _ in range(PIECES):
            self.write(PIECE)
            await self.flush()


async def main():
    app = web.Application([("/", globals()[told.application.capitalize()])])
    app.listen(told.port, address="127.0.0.1", backlog=1024)
    await asyncio.Event().wait()


asyncio.run(main())
