"""bjoern with a WSGI application."""

from socket import IPPROTO_TCP, TCP_NODELAY

import bjoern
import wsgi_applications
from options import options

told = options()
listener = bjoern.listen(getattr(wsgi_applications, told.application), "127.0.0.1", told.port)
listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)  # connections inherit it
bjoern.run()
