"""Cookies of a server: what a request brings, and a Set-Cookie line with safe defaults.

Cookies are not decoded: neither percent signs nor backslashes within quotes mean anything here, as in RFC 6265.

Source: RFC 6265, 4 and 5.4; SameSite, prefixes and sizes: draft-ietf-httpbis-rfc6265bis.
"""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from trews.settings import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # cookie-octet
_PATH = re.compile(r"/[ -:<-~]*")  # path-value; browsers ignore one without the slash
_DOMAIN = re.compile(r"\.?[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?")
_SAME_SITE = re.compile(r"Lax|Strict|None")
_HINTS = {"value": "; percent-encode it", "same_site": "; it is 'Lax', 'Strict', 'None' or None"}
MAX_COOKIES = 200  # of one request; what is behind them is not looked at
MAX_SIZE = 4096  # bytes of a name and its value; browsers drop what is larger
MAX_ATTRIBUTE = 1024  # bytes of a path or a domain; the same


def parse_cookies(text: str) -> dict[str, str]:
    """The cookies of a Cookie field, by name; of several with one name the first, which has the longest path.

    What is no `name=value` is left out (RFC 6265, 4.2.1), and so is a cookie without a name: browsers send one with the
    value `__Host-a=1` as `=__Host-a=1`, or even without the first `=`, and it must not pass for what it is not.
    """
    found: dict[str, str] = {}
    for part in text.split(";", MAX_COOKIES)[:MAX_COOKIES]:
        name, equals, value = part.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if equals and name and name not in found:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found[name] = value
    return found


def _naming(function: Callable[_P, str]) -> Callable[_P, str]:
    """Have an attribute in another spelling, as others have it, refused with the one that it has here."""
    known = inspect.signature(function).parameters

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> str:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"a cookie has no attribute {name!r}{nearest(name.lower(), list(known)[2:])}")
        return function(*args, **kwargs)

    return checked


@_naming
def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int | timedelta | None = None,
    expires: datetime | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = True,
    http_only: bool = True,
    same_site: str | None = "Lax",
    partitioned: bool = False,
) -> str:
    """The value of a Set-Cookie field. Everything is validated here, whichever argument it came by.

    Args:
        name: a token; `__Host-` and `__Secure-` must have what browsers demand of them.
        value: visible ASCII without space, quote, comma, semicolon and backslash; percent-encode others.
        max_age: seconds, or a timedelta; 0 deletes it, if path and domain are as they were. None, without `expires`:
            until the browser ends.
        expires: an aware datetime; `max_age` wins.
        path: the requests that get it, those of this path and below; None is the directory of this one.
        domain: subdomains of it get the cookie, too; None is this host alone.
        secure: sent over TLS only (browsers take localhost for that).
        http_only: not for scripts.
        same_site: "Lax", "Strict", or "None", which needs `secure`.
        partitioned: kept apart by the site at the top; needs `secure`.

    Raises:
        ValueError, TypeError: it cannot be sent, or no browser would take it.
    """
    for key, flag in (("secure", secure), ("http_only", http_only), ("partitioned", partitioned)):
        if not isinstance(flag, bool):
            raise TypeError(f"{key} is True or False, not {flag!r}")
    name = _checked(_NAME, "name", name)
    value = _checked(_VALUE, "value", value)
    parts = [f"{name}={value}"]
    if max_age is not None:
        seconds = int(max_age.total_seconds()) if isinstance(max_age, timedelta) else max_age
        if type(seconds) is not int:
            raise TypeError(f"max_age is a number of seconds or a timedelta, not {max_age!r}")
        parts.append(f"Max-Age={seconds}")
    if expires is not None:
        parts.append(f"Expires={_date(expires)}")
    if path is not None:
        path = _checked(_PATH, "path", path)
        parts.append(f"Path={path}")
    if domain is not None:
        domain = _checked(_DOMAIN, "domain", domain)
        parts.append(f"Domain={domain}")
    if len(name) + len(value) > MAX_SIZE or max(len(path or ""), len(domain or "")) > MAX_ATTRIBUTE:
        raise ValueError(
            f"browsers drop a cookie of over {MAX_SIZE} bytes, or with a path or a domain of over {MAX_ATTRIBUTE}"
        )
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    if same_site is not None:
        same_site = _checked(_SAME_SITE, "same_site", same_site)
        parts.append(f"SameSite={same_site}")
    if partitioned:
        parts.append("Partitioned")
    _check_combination(name.lower(), secure, http_only, same_site, partitioned, path, domain)
    return "; ".join(parts)


def _date(moment: Any) -> str:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise TypeError(f"expires is a datetime with a time zone, not {moment!r}")
    from email.utils import format_datetime  # here, because it costs 10 ms to import

    try:
        return format_datetime(moment.astimezone(UTC), usegmt=True)
    except OverflowError:
        raise ValueError(f"expires is a moment from the year 1 to 9999 in UTC, not {moment!r}") from None


def _checked(allowed: re.Pattern[str], what: str, text: Any) -> str:
    """A text as a plain str: what was checked, and not what the str() of an enum or the like would be."""
    if not isinstance(text, str):
        raise TypeError(f"a cookie's {what} is a str, not {text!r}")
    match = allowed.fullmatch(text)
    if match is None:
        hint = _HINTS.get(what, "")
        raise ValueError(f"{text!r} cannot be a cookie's {what} (RFC 6265, 4.1.1){hint}")
    return match.group()


def _check_combination(
    name: str,
    secure: bool,
    http_only: bool,
    same_site: str | None,
    partitioned: bool,
    path: str | None,
    domain: str | None,
) -> None:
    """What browsers refuse, refused here, where somebody sees it. They know the prefixes in any case."""
    if (same_site == "None" or partitioned) and not secure:
        raise ValueError("browsers take SameSite=None and Partitioned with Secure only")
    if name.startswith(("__secure-", "__host-", "__http-")) and not secure:
        raise ValueError("browsers take __Secure-, __Host- and __Http- with Secure only")
    if name.startswith(("__http-", "__host-http-")) and not http_only:
        raise ValueError("browsers take __Http- and __Host-Http- with HttpOnly only")
    if name.startswith("__host-") and (path != "/" or domain is not None):
        raise ValueError("browsers take __Host- with path '/' and without a domain only")
