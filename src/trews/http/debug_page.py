"""The page of a server with `debug=True` about an error in a handler: the traceback, and what was asked.

Not for anybody but who writes the program: it shows code. So there is none by default. What is a secret by its name
(`Authorization`, `Cookie`, `?token=…`) is not shown even here, as such pages are passed on.
"""

from __future__ import annotations

import re
import traceback
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import unquote

from trews.addresses import shown
from trews.http.response import HTML, TEXT, Response

if TYPE_CHECKING:
    from trews.http.request import Request

MAX_TRACEBACK = 200_000  # characters; the last of them say the most
MASK = "(hidden)"

_SECRET = re.compile(
    r"(?i)auth|cookie|token|secret|passw|pwd|api.?key|session|csrf|xsrf|signature|credential|jwt"
    r"|^(?:key|sig|pin|code|otp|sid)$"
)
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px sans-serif; margin: 2em }} pre {{ background: #f4f4f4; padding: 1em; overflow-x: auto }}
th {{ text-align: left; padding-right: 1em; vertical-align: top }} td {{ word-break: break-all }}</style>
</head><body><h1>{title}</h1>
<p>{asked} &middot; from {client} &middot; id {id}</p>
<pre>{traceback}</pre>
<h2>Header fields</h2>
<table>{fields}</table>
<p>This page is shown because the server runs with <code>debug=True</code>.</p>
</body></html>
"""


def debug_page(request: Request, exc: BaseException) -> Response:
    """The answer to a request of which the handler raised `exc`: HTML for who accepts it, else plain text."""
    title = f"{type(exc).__name__}: {exc!s}"[:500] if _is_printable(exc) else type(exc).__name__
    told = "".join(traceback.format_exception(exc))[-MAX_TRACEBACK:]
    asked = f"{request.method} {masked_query(request.target.decode('ascii'))}"
    fields = [(name, MASK if is_secret(name) else masked_query(value)) for name, value in request.headers.items()]
    if "text/html" in request.headers.get("Accept", "").lower():
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in fields)
        text = _PAGE.format(
            title=escape(title),
            asked=escape(asked),
            client=escape(shown(request.client)),
            id=escape(request.id),
            traceback=escape(told),
            fields=rows,
        )
        content_type = HTML
    else:
        lines = "".join(f"{name}: {value}\n" for name, value in fields)
        text = f"{title}\n\n{told}\n{asked}\n{lines}"
        content_type = TEXT
    return Response(
        text.encode("utf-8", "backslashreplace"),
        500,
        {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
        content_type=content_type,
    )


def is_secret(name: str) -> bool:
    """Whether what has this name is not to be shown."""
    return _SECRET.search(name) is not None


def masked_query(url: str) -> str:
    """A URL as it is, but for the secrets in its query."""
    path, mark, query = url.partition("?")
    if not mark:
        return url
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        parts.append(f"{name}={MASK}" if equals and is_secret(unquote(name)) else part)
    return f"{path}?{'&'.join(parts)}"


def _is_printable(exc: BaseException) -> bool:
    try:
        str(exc)
    except Exception:
        return False
    return True
