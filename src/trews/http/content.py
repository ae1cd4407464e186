"""What the bytes of a message mean: a query, text, JSON. What is none of these is the fault of who sent it (400)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from trews.http.errors import Error
from trews.http.multi import MultiDict

MAX_PARAMETERS = 1000  # of one query

# What a body may be decoded from. Python knows more, and by any name that a peer makes up it looks for a module, and
# remembers that there was none; some of those there are take quadratic time (idna, punycode), or are for source code.
_CHARSET = re.compile(
    r"utf-?8|utf-?(?:16|32)(?:-?[bl]e)?|(?:us-)?ascii|latin-?1|iso-?8859-?1?[0-9]|windows-?125[0-8]|cp125[0-8]"
    r"|koi8-[ru]|shift[_-]jis|euc-(?:jp|kr)|gbk|gb2312|gb18030|big5"
)


def parse_query(text: str) -> MultiDict:
    """The values of a query, decoded as UTF-8; what is none is `"\\ufffd"`. A name without `=` has the value `""`.

    `&` separates them, and nothing else does: a cache that disagrees about `;` serves one's answer to another.

    Raises:
        Error: (400) they are more than 1000.
    """
    parts = [part for part in text.replace("+", " ").split("&") if part]
    if len(parts) > MAX_PARAMETERS:
        raise Error(400, f"more than {MAX_PARAMETERS} parameters in the query\n")
    pairs = (part.partition("=") for part in parts)
    return MultiDict((percent_decoded(name), percent_decoded(value)) for name, _, value in pairs)


def percent_decoded(text: str) -> str:
    """A text with its `%41` decoded as UTF-8; what is none is `"\\ufffd"`, so that it can be sent on."""
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type says, in lower case; `"utf-8"` without."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower() or "utf-8"
    return "utf-8"


def decode_text(content: bytes, content_type: str) -> str:
    """A body as text, by the charset of its Content-Type.

    Raises:
        Error: (400) it is not in that charset; (415) that is not known.
    """
    charset = charset_of(content_type)
    try:
        if _CHARSET.fullmatch(charset) is not None:
            return content.decode(charset)
    except LookupError:  # iso-8859-12
        pass
    except UnicodeDecodeError as exc:
        raise Error(400, "the body is not in the charset that it says\n") from exc
    raise Error(415, "the charset of the body is not known\n")


def decode_json(content: bytes) -> Any:
    """A body as JSON, in UTF-8, UTF-16 or UTF-32.

    Raises:
        Error: (400) it is none; NaN and Infinity are none (RFC 8259, 6), nor is what nests too deeply.
    """
    if not content:
        raise Error(400, "the body is no JSON: it is empty\n")
    try:
        return _JSON.decode(content.decode(json.detect_encoding(content)))
    except (ValueError, RecursionError) as exc:
        raise Error(400, f"the body is no JSON: {_why_no_json(exc)}\n") from exc


def _why_no_json(exc: BaseException) -> str:
    """What is wrong, and where, in words of our own where Python's are about Python."""
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg.rstrip(': ')} at line {exc.lineno}, column {exc.colno}"
    if isinstance(exc, UnicodeDecodeError):
        return f"byte {exc.start} is no {exc.encoding.upper()}"
    if isinstance(exc, RecursionError):
        return "it nests too deeply"
    return str(exc) if isinstance(exc, _NoConstant) else "a number of too many digits"


def as_bytes(data: Any) -> bytes:
    """A piece of a body as bytes (TypeError for what is neither text nor bytes; a number would be so many zeros)."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"a piece of a body is str or bytes, not {type(data).__name__}")


class _NoConstant(ValueError):
    """What Python would read, and is not in JSON."""


def _no_constant(name: str) -> Any:
    raise _NoConstant(f"{name} is not in JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)
