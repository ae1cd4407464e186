"""An HTTP server out of functions: text, HTML, JSON, a form, an error.

Run it, then try:  curl -i 'localhost:8080/hello?name=Ann'   (and /, /time, -d name=Ann /, /nothing)
"""

import html
import time
from urllib.parse import parse_qs

from trews import http

PAGE = """<!doctype html><title>Hello</title>
<form method="post"><input name="name" autofocus> <button>Hello</button></form>"""


def app(request):
    if request.path == "/":
        return form(request)
    if request.path == "/hello":
        return f"Hello, {request.query.get('name', 'you')}!\n"
    if request.path == "/time":
        return {"time": time.time(), "you": request.client}
    raise http.Error(404, f"nothing at {request.path}\n")


def form(request):
    if request.method != "POST":
        return http.html(PAGE)
    name = parse_qs(request.text).get("name", ["you"])[0]
    return http.html(f"<!doctype html><p>Hello, {html.escape(name)}!")


if __name__ == "__main__":
    http.serve(app, "localhost:8080")
