"""Streams both ways: an upload is counted while it comes, an answer is sent while it is made.

Run it, then try:  curl -T some.iso localhost:8080/upload
                   curl -N localhost:8080/events      (or open localhost:8080 in a browser)
"""

import asyncio
import hashlib

from trews import http

PAGE = """<!doctype html><title>Events</title><h1></h1>
<script>new EventSource("/events").onmessage = e => document.querySelector("h1").textContent = e.data</script>"""


async def app(request):
    if request.path == "/upload":
        return await upload(request)
    if request.path == "/events":
        return http.Response(events(), content_type="text/event-stream", headers={"Cache-Control": "no-store"})
    return http.html(PAGE)


async def upload(request):
    """Of any size: what has come is not kept. The client is held back while this waits."""
    size, digest = 0, hashlib.sha256()
    async for piece in request:
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


async def events():
    """Server-sent events. When the client goes, this is closed at its `yield`."""
    for count in range(10, 0, -1):
        yield f"data: {count}\n\n"
        await asyncio.sleep(1)
    yield "data: lift-off\n\n"


if __name__ == "__main__":
    # Uploads may be larger than 10 MiB here.
    http.serve(app, "localhost:8080", max_body=None)
