"""granian with a WSGI or an ASGI application, on one worker."""

import os

from granian import Granian
from options import options

if __name__ == "__main__":
    told = options("wsgi", "asgi")
    os.chdir("/")  # it would take the module for a part of a package in whose folder it is started
    app = f"{told.style}_applications:{told.application}"
    Granian(app, address="127.0.0.1", port=told.port, interface=told.style, log_access=False).serve()
