"""asgi: what a server of ASGI applications costs."""

from __future__ import annotations

from bench import web
from bench.benchmark import Row
from bench.programs import script

FASTPYSGI = Row("FastPySGI (ASGI)", script("asgi_fastpysgi", package="fastpysgi"))
TREWS = Row("trews (ASGI)", script("asgi_trews"), is_trews=True)
UVICORN = Row("uvicorn (ASGI)", script("asgi_uvicorn", packages=("uvicorn", "uvloop", "httptools")))

BENCHMARK = web.benchmark(
    "asgi",
    "ASGI applications",
    (
        FASTPYSGI,
        UVICORN,
        TREWS,
        Row("granian (ASGI)", script("granian_server", "asgi", package="granian")),
    ),
    floor=FASTPYSGI,
)
