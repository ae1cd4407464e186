"""gunicorn with a WSGI application, in the threads of one worker: its other kind, sync, keeps no connection."""

import sys

from gunicorn.app.wsgiapp import run
from options import options

told = options()
sys.argv = ["gunicorn", "--bind", f"127.0.0.1:{told.port}", "--workers", "1", "--threads", "4", "--backlog", "1024"]
sys.argv.append(f"wsgi_applications:{told.application}")
run()
