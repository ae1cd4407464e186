"""gevent's pywsgi with a WSGI application."""

import wsgi_applications
from gevent.pywsgi import WSGIServer
from options import options

told = options()
app = getattr(wsgi_applications, told.application)
WSGIServer(("127.0.0.1", told.port), app, backlog=1024, log=None).serve_forever()
