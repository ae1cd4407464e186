"""The ASGI applications, the same for every server."""

from options import LARGE, PIECE, PIECES, TEXT


def start(size=None):
    headers = [(b"content-type", b"text/plain")]
    if size is not None:
        headers.append((b"content-length", b"%d" % size))
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def hello(scope, receive, send):
    await send(start(len(TEXT)))
    await send({"type": "http.response.body", "body": TEXT})


async def size(scope, receive, send):
    total = 0
    while True:
        message = await receive()
        total += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    answer = b"%d" % total
    await send(start(len(answer)))
    await send({"type": "http.response.body", "body": answer})


async def large(scope, receive, send):
    await send(start(len(LARGE)))
    await send({"type": "http.response.body", "body": LARGE})


async def pieces(scope, receive, send):
    await send(start())
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
