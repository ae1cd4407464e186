"""An ASGI application, served: any framework's is served the same way.

Run it, then try:  curl http://localhost:8080/you
"""

from trews import http


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # no lifespan: that is allowed
    body = f"Hello, {scope['path'].strip('/') or 'world'}!\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    http.serve(http.asgi(app), "localhost:8080")
