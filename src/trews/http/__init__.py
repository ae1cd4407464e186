"""HTTP/1.1: a server for any function of a request, for WSGI and ASGI applications.

    Server, serve              a server, and its blocking form
    Request, Response, html    what handlers get and return; they may return str, dict, a status, … as well
    Error                      raised in a handler: the answer is this status
    Headers, MultiDict         fields and queries, which may have a name several times
    wsgi                       a WSGI application as a handler
    set_cookie                 a Set-Cookie field with safe defaults
    HTTPError, BadMessage      what a peer did wrong

Layout: `head` and `http1` know bytes only, and are compiled; `request`, `response`, `body` are what handlers see;
`connection` is the protocol, with `deadlines`; `server` stands on it.
"""

from typing import TYPE_CHECKING, Any

from trews.http.cookies import set_cookie
from trews.http.errors import BadMessage, Error, HTTPError
from trews.http.http1 import BadAnswer
from trews.http.multi import Headers, MultiDict
from trews.http.request import Request
from trews.http.response import Response, html
from trews.http.server import Server, serve

if TYPE_CHECKING:
    from trews.http.wsgi_gateway import wsgi

__all__ = [
    "BadAnswer",
    "BadMessage",
    "Error",
    "HTTPError",
    "Headers",
    "MultiDict",
    "Request",
    "Response",
    "Server",
    "html",
    "serve",
    "set_cookie",
    "wsgi",
]


def __getattr__(name: str) -> Any:
    """What not all need is imported when it is asked for: `wsgi` brings threads along."""
    if name == "wsgi":
        from trews.http.wsgi_gateway import wsgi

        return wsgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
