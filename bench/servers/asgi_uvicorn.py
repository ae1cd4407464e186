"""uvicorn with an ASGI application, on uvloop and httptools, as it chooses them where they are installed."""

import asgi_applications
import uvicorn
from options import options

told = options()
app = getattr(asgi_applications, told.application)
uvicorn.run(
    app, host="127.0.0.1", port=told.port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
)
