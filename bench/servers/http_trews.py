"""trews with a handler of requests, a plain function or a coroutine."""

from options import LARGE, PIECE, PIECES, TEXT, options

from trews import http

told = options("def", "async")
text = TEXT.decode()


def hello(request):
    return text


def size(request):
    return str(len(request.content))


def large(request):
    return LARGE


def pieces(request):
    return http.Response(PIECE for _ in range(PIECES))


async def async_hello(request):
    return TEXT


async def async_size(request):
    return str(len(await request.read()))


async def async_large(request):
    return LARGE


async def async_pieces(request):
    async def body():
        for _ in range(PIECES):
            yield PIECE

    return http.Response(body())


prefix = "async_" if told.style == "async" else ""
http.serve(globals()[prefix + told.application], f"tcp:127.0.0.1:{told.port}")
