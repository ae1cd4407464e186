"""gevent's pywsgi with a WSGI application."""

import wsgi_applications
from gevent import socket
from gevent.pywsgi import WSGIServer
from options import options

told = options()
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # connections inherit it
listener.bind(("127.0.0.1", told.port))
listener.listen(1024)
WSGIServer(listener, getattr(wsgi_applications, told.application), log=None).serve_forever()
