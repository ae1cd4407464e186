"""What `bench.soak` loads: an answer of each kind, and a page that says how many there were."""

import asyncio
import os
import sys

from trews import http

count = 0
LARGE = b"x" * 100_000


def app(request):
    global count
    count += 1
    path = request.path
    if path == "/count":
        return f"{os.getpid()} {count}"
    if path == "/small":
        return "Hello, world!"
    if path == "/browser":
        return {"agent": request.headers["User-Agent"], "cookies": request.cookies, "query": request.query.items()}
    if path == "/post":
        return 201, f"{len(request.content)} {len(request.trailers)}"
    if path == "/large":
        return LARGE
    if path == "/stream":
        return http.Response(pieces())
    if path == "/wait":
        return wait(request)
    if path == "/fail":
        raise http.Error(403, "not here")
    return 404


async def pieces():
    for _ in range(5):
        yield b"y" * 1000


async def wait(request):
    await asyncio.sleep(0.001)
    return request.raw_query


http.serve(app, f"tcp:127.0.0.1:{sys.argv[1]}")
