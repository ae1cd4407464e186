"""FastPySGI with an ASGI application."""

import asgi_applications
import fastpysgi
from options import options

told = options()
fastpysgi.run(getattr(asgi_applications, told.application), host="127.0.0.1", port=told.port)
