"""Cookies of a server: what a request brings, and a Set-Cookie line with safe defaults.

Source: RFC 6265, 4 and 5.4; SameSite and prefixes: draft-ietf-httpbis-rfc6265bis.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # cookie-octet
_ATTRIBUTE = re.compile(r"[ -:<-~]*")  # av-octet
_DOMAIN = re.compile(r"\.?[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?")
MAX_COOKIES = 200  # of one request; what is behind them is not looked at


def parse_cookies(text: str) -> dict[str, str]:
    """The cookies of a Cookie field, by name; of several with one name the first, which has the longest path.

    What is no `name=value` is left out (RFC 6265, 4.2.1), and so is a cookie without a name.
    """
    found: dict[str, str] = {}
    for part in text.split(";", MAX_COOKIES)[:MAX_COOKIES]:
        name, equals, value = part.strip(" \t").partition("=")
        if equals and name and name not in found:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found[name] = value
    return found


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
        max_age: seconds, or a timedelta; 0 deletes it. None, without `expires`: until the browser ends.
        expires: an aware datetime; `max_age` wins.
        path: the requests that get it; None is the directory of this one.
        domain: subdomains of it get the cookie, too; None is this host alone.
        secure: sent over TLS only (browsers take localhost for that).
        http_only: not for scripts.
        same_site: "Lax", "Strict", or "None", which needs `secure`.
        partitioned: kept apart by the site at the top; needs `secure`.

    Raises:
        ValueError, TypeError: it cannot be sent, or no browser would take it.
    """
    _check(_NAME, "name", name)
    _check(_VALUE, "value", value)
    parts = [f"{name}={value}"]
    if max_age is not None:
        seconds = int(max_age.total_seconds()) if isinstance(max_age, timedelta) else max_age
        if type(seconds) is not int:
            raise TypeError(f"max_age is a number of seconds or a timedelta, not {max_age!r}")
        parts.append(f"Max-Age={seconds}")
    if expires is not None:
        if expires.tzinfo is None:
            raise TypeError(f"expires is a datetime with a time zone, not {expires!r}")
        from email.utils import format_datetime  # here, because it costs 10 ms to import

        parts.append(f"Expires={format_datetime(expires.astimezone(UTC), usegmt=True)}")
    if path is not None:
        _check(_ATTRIBUTE, "path", path)
        parts.append(f"Path={path}")
    if domain is not None:
        _check(_DOMAIN, "domain", domain)
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    if same_site is not None:
        if same_site not in ("Lax", "Strict", "None"):
            raise ValueError(f"same_site is 'Lax', 'Strict', 'None' or None, not {same_site!r}")
        parts.append(f"SameSite={same_site}")
    if partitioned:
        parts.append("Partitioned")
    _check_combination(name, secure, same_site, partitioned, path, domain)
    return "; ".join(parts)


def _check(allowed: re.Pattern[str], what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"a cookie's {what} is a str, not {text!r}")
    if not allowed.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a cookie's {what} (RFC 6265, 4.1.1)")


def _check_combination(
    name: str, secure: bool, same_site: str | None, partitioned: bool, path: str | None, domain: str | None
) -> None:
    """What browsers refuse, refused here, where somebody sees it."""
    if (same_site == "None" or partitioned) and not secure:
        raise ValueError("browsers take SameSite=None and Partitioned with Secure only")
    if name.startswith(("__Secure-", "__Host-")) and not secure:
        raise ValueError(f"browsers take {name} with Secure only")
    if name.startswith("__Host-") and (path != "/" or domain is not None):
        raise ValueError(f"browsers take {name} with path '/' and without a domain only")
