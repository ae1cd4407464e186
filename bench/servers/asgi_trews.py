"""trews with an ASGI application."""

import asgi_applications
from options import options

from trews import http

told = options()
app = getattr(asgi_applications, told.application)
http.serve(http.asgi(app), f"tcp:127.0.0.1:{told.port}")
