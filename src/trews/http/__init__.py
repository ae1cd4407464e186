"""HTTP/1.1: a server for any function of a request, for WSGI and ASGI applications.

    asgi, StartupFailed        an ASGI application as a handler; it cannot start
    Server, serve              a server, and its blocking form
    Request, Response, html    what handlers get and return; they may return str, dict, a status, … as well
    Resource                   a handler that is a class with a function for each method
    Error                      raised in a handler: the answer is this status
    Headers, MultiDict         fields and queries, which may have a name several times
    wsgi                       a WSGI application as a handler
    set_cookie                 a Set-Cookie field with safe defaults
    HTTPError, BadMessage      what a peer did wrong
    BadAnswer                  what this program wants to send, and cannot be sent
    test_client                asks an app without a network

Layout: `head` and `http1` know bytes only, and are compiled; `request`, `response`, `body` are what handlers see;
`connection` is the protocol, with `deadlines`; `server` stands on it.
"""

import typing

from trews.http.cookies import set_cookie
from trews.http.errors import BadAnswer, BadMessage, Error, HTTPError
from trews.http.multi import Headers, MultiDict
from trews.http.request import Request
from trews.http.resource import Resource
from trews.http.response import Response, html
from trews.http.server import Server, serve
from trews.http.test_client import test_client

if typing.TYPE_CHECKING:
    from trews.http.asgi_handler import asgi
    from trews.http.asgi_lifespan import StartupFailed
    from trews.http.wsgi_handler import wsgi

__all__ = [
    "BadAnswer",
    "BadMessage",
    "Error",
    "HTTPError",
    "Headers",
    "MultiDict",
    "Request",
    "Resource",
    "Response",
    "Server",
    "StartupFailed",
    "asgi",
    "html",
    "serve",
    "set_cookie",
    "test_client",
    "wsgi",
]

# Imported when its name is used: who serves one kind of application does not need the others.
_LATER = {
    "StartupFailed": "trews.http.asgi_lifespan",
    "asgi": "trews.http.asgi_handler",
    "wsgi": "trews.http.wsgi_handler",
}


if not typing.TYPE_CHECKING:  # for type checkers, which would believe that every name is here

    def __getattr__(name):
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
