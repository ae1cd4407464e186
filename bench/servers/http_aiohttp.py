"""aiohttp's server, on uvloop."""

import uvloop
from aiohttp import web
from options import LARGE, PIECE, PIECES, TEXT, options

told = options()


async def hello(request):
    return web.Response(body=TEXT, content_type="text/plain")


async def size(request):
    return web.Response(text=str(len(await request.read())))


async def large(request):
    return web.Response(body=LARGE, content_type="text/plain")


async def pieces(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(PIECES):
        await response.write(PIECE)
    await response.write_eof()
    return response


app = web.Application()
app.router.add_route("*", "/", globals()[told.application])
loop = uvloop.new_event_loop()
web.run_app(app, host="127.0.0.1", port=told.port, access_log=None, backlog=1024, loop=loop)
