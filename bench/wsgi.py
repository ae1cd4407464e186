"""wsgi: what a server of WSGI applications costs."""

from __future__ import annotations

from bench import web
from bench.benchmark import Row
from bench.programs import script

FASTPYSGI = Row("FastPySGI (WSGI)", script("wsgi_fastpysgi", package="fastpysgi"))
BJOERN = Row("bjoern (WSGI)", script("wsgi_bjoern", package="bjoern"))
INLINE = Row("trews (WSGI, inline)", script("wsgi_trews", "inline"), is_trews=True)

BENCHMARK = web.benchmark(
    "wsgi",
    "WSGI applications",
    (
        FASTPYSGI,
        BJOERN,
        INLINE,
        Row("trews (WSGI, threads)", script("wsgi_trews", "threads"), is_trews=True),
        Row("granian (WSGI)", script("granian_server", "wsgi", package="granian")),
        Row("gunicorn (WSGI, threads)", script("wsgi_gunicorn", package="gunicorn")),
        Row("gevent pywsgi (WSGI)", script("wsgi_gevent", package="gevent")),
    ),
    floor=FASTPYSGI,
)
