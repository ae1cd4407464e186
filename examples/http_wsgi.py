"""A WSGI application, in threads. Flask's and Django's are hosted in the same way.

Run it, then try:  curl -i 'localhost:8080/?name=Ann'
"""

from urllib.parse import parse_qs

from trews import http


def app(environ, start_response):
    name = parse_qs(environ["QUERY_STRING"]).get("name", ["world"])[0]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {name}!\n".encode()]


if __name__ == "__main__":
    http.serve(http.wsgi(app), "localhost:8080")
