"""trews with a WSGI application, in its threads (as it is by default) or inline."""

import wsgi_applications
from options import options

from trews import http

told = options("threads", "inline")
settings = {"threads": 0} if told.style == "inline" else {}
app = getattr(wsgi_applications, told.application)
http.serve(http.wsgi(app, **settings), f"tcp:127.0.0.1:{told.port}")
