"""FastPySGI with a WSGI application."""

import fastpysgi
import wsgi_applications
from options import options

told = options()
fastpysgi.server.tcp_nodelay = 1
fastpysgi.run(getattr(wsgi_applications, told.application), host="127.0.0.1", port=told.port)
