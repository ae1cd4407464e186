"""FastPySGI with an ASGI application."""

import asgi_applications
import fastpysgi
from options import options

told = options()
fastpysgi.server.tcp_nodelay = 1
fastpysgi.run(getattr(asgi_applications, told.application), host="127.0.0.1", port=told.port)
