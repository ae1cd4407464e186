"""bjoern with a WSGI application."""

import bjoern
import wsgi_applications
from options import options

told = options()
bjoern.run(getattr(wsgi_applications, told.application), "127.0.0.1", told.port)
