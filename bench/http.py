"""http: what an HTTP/1.1 server costs with a handler of its own, beside nginx."""

from __future__ import annotations

from bench import asgi, raw, web
from bench.benchmark import Row
from bench.nginx import nginx
from bench.programs import script

NGINX = Row("nginx", nginx)
DEF = Row("trews def", script("http_trews", "def"), is_trews=True)
ASYNC = Row("trews async def", script("http_trews", "async"), is_trews=True)

BENCHMARK = web.benchmark(
    "http",
    "HTTP/1.1, each server's own handlers",
    (
        NGINX,
        raw.FLOOR,
        DEF,
        ASYNC,
        asgi.UVICORN,
        Row("aiohttp", script("http_aiohttp", packages=("aiohttp", "uvloop"))),
        Row("Twisted web", script("http_twisted", package="twisted")),
        Row("Tornado", script("http_tornado", package="tornado")),
    ),
    floor=NGINX,
)
