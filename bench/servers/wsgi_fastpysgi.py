"""FastPySGI with a WSGI application."""

import fastpysgi
import wsgi_applications
from options import options

told = options()
fastpysgi.run(getattr(wsgi_applications, told.application), host="127.0.0.1", port=told.port)
