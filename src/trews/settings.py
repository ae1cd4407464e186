"""Settings and callbacks: their names and defaults, and the checks that catch a misspelt one.

A setting is a class attribute that a subclass overrides or an instance assigns. Keywords of `Server`, `serve`
and `connect` become attributes of a subclass. What is not known is refused where it is written, with the name
that was probably meant.
"""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

from trews.errors import EndpointError
from trews.framing import framer_for
from trews.names import check_arguments, is_slip

if TYPE_CHECKING:
    from trews.endpoint import Endpoint

KIB = 1024

GRACE = 10.0  # seconds that a stop gives
AFTER_GRACE = 1.0  # seconds that aborted code gets to notice

# The defaults of every connection. Sizes are bytes, times are seconds; None is no limit.
DEFAULTS: dict[str, Any] = {
    "framer": None,
    "max_message": 64 * KIB,
    "read_high": 64 * KIB,
    "message_timeout": 60.0,
    "idle_timeout": None,
    "write_high": 64 * KIB,
    "write_low": 16 * KIB,
    "write_limit": 16 * KIB * KIB,
    "write_timeout": 60.0,
    "close_timeout": 30.0,
    "half_close": False,
    "tls_context": None,
}

# Those of a Datagram.
DATAGRAM_DEFAULTS: dict[str, Any] = {
    "read_high": 64 * KIB,
    "write_high": 64 * KIB,
    "write_low": 16 * KIB,
    "write_limit": KIB * KIB,
    "close_timeout": 30.0,
    "multicast_interface": None,
    "multicast_ttl": None,
    "multicast_loopback": None,
}

# The callbacks, and what they are called with.
CALLBACKS = {
    "on_connect": "",
    "on_read": "message",
    "on_eof": "",
    "on_close": "reason",
    "on_full": "",
    "on_drain": "",
    "on_stop": "",
    "on_error": "exc",
}
SERVER_CALLBACKS = {"on_start": "", "on_stop": "", "on_accept": "connection", "on_error": "connection, exc"}
CLIENT_CALLBACKS = {"on_up": "connection", "on_down": "reason"}
DATAGRAM_CALLBACKS = {"on_open": "", "on_read": "data, address", "on_error": "exc", "on_close": "reason", "on_stop": ""}
PLAIN_ONLY = {
    "on_full": "it is called at once, even while an async callback runs; start a task with self.spawn(...) in it",
    "on_drain": "it is called at once, even while an async callback runs; start a task with self.spawn(...) in it",
    "on_accept": "who may come in is decided at once",
}

# What the same thing is called elsewhere.
_SYNONYMS = {
    "on_data": "on_read",
    "on_recv": "on_read",
    "on_receive": "on_read",
    "on_received": "on_read",
    "on_message": "on_read",
    "on_line": "on_read",
    "on_open": "on_connect",
    "on_connected": "on_connect",
    "on_connection": "on_connect",
    "on_closed": "on_close",
    "on_disconnect": "on_close",
    "on_disconnected": "on_close",
    "on_lost": "on_close",
    "on_exception": "on_error",
    "on_drained": "on_drain",
}
_CLIENT_SYNONYMS = {
    "on_open": "on_up",
    "on_connected": "on_up",
    "on_connection": "on_up",
    "on_closed": "on_down",
    "on_disconnect": "on_down",
    "on_disconnected": "on_down",
    "on_lost": "on_down",
}

_SIZES = frozenset({"max_message", "read_high", "write_high", "write_low", "write_limit"})
_COUNTS = frozenset({"max_connections", "max_connections_per_host", "max_handshakes"})
_TIMES = frozenset({"message_timeout", "idle_timeout", "write_timeout", "close_timeout"})


def check_class(cls: type, callbacks: dict[str, str], settings: dict[str, Any]) -> None:
    """Refuse a class body in which a callback or a setting is misspelt or has a value that cannot be.

    Raises:
        TypeError: a name is one slip away from a known one; a callback takes other arguments, or is async and
            must not be.
        ValueError: a setting has a value that makes no sense.
    """
    check_arguments(cls, callbacks)
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if name in settings:
            check_setting(name, value)
        elif name not in callbacks:
            if callable(value):
                _check_callback_name(cls, name, callbacks)
            else:
                _check_setting_name(cls, name, settings)
        if name in PLAIN_ONLY and name in callbacks and inspect.iscoroutinefunction(value):
            raise TypeError(f"{cls.__name__}.{name} must be a plain function: {PLAIN_ONLY[name]}")


def check_place(cls: type, callbacks: dict[str, str], maker: str) -> None:
    """Refuse a setting or a callback of connections in the body of a class that makes them (TypeError).

    Args:
        callbacks: those of `cls` itself.
        maker: what takes the settings as keywords: `"Server"`.
    """
    for name in vars(cls):
        if name in DEFAULTS or (name in CALLBACKS and name not in callbacks):
            keyword = f", or is a keyword: {maker}(..., {name}=...)" if name in DEFAULTS else ""
            raise TypeError(f"{cls.__name__}.{name} belongs on a Connection subclass{keyword}")


def check_setting(name: str, value: Any) -> None:
    """Refuse a value that a setting cannot have (TypeError or ValueError)."""
    if isinstance(value, property) or hasattr(type(value), "__get__"):
        return  # computed by the user's class
    if name == "framer":
        framer_for(value)
    elif name == "tls_context":
        if value is not None:
            check_context(value)
    elif name in _SIZES:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a number of bytes, not {value!r}")
        if value < 0:
            raise ValueError(f"{name} is a number of bytes, 0 or more, not {value!r}")
    elif name in _COUNTS and value is not None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a number of connections or None, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} is a number of connections, 1 or more, or None for no limit, not {value!r}")
    elif name == "queue" and value is not None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"queue is a number of messages or None, not {value!r}")
        if value < 1:
            raise ValueError(f"queue is a number of messages, 1 or more, or None for no queue, not {value!r}")
    elif name in _TIMES and value is not None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
        if not value > 0:
            raise ValueError(f"{name} is a number of seconds above 0, or None for no limit, not {value!r}")
    elif name.startswith("multicast_") and value is not None:
        _check_multicast(name, value)


def _check_multicast(name: str, value: Any) -> None:
    if name == "multicast_interface" and not (isinstance(value, str) and value):
        raise TypeError(f"{name} is the name of a network interface, such as 'eth0', or None, not {value!r}")
    if name == "multicast_loopback" and not isinstance(value, bool):
        raise TypeError(f"{name} is True, False or None, not {value!r}")
    if name == "multicast_ttl":
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a number of routers or None, not {value!r}")
        if not 0 <= value <= 255:
            raise ValueError(f"{name} is a number of routers, 0 to 255, not {value!r}")


def check_wait(timeout: float) -> None:
    """Refuse what is no time to wait (ValueError)."""
    if not timeout >= 0:  # nor NaN
        raise ValueError(f"timeout is a number of seconds, 0 or more, or None for no limit, not {timeout!r}")


def check_context(value: Any) -> None:
    """Refuse what is no SSLContext (TypeError)."""
    # Without importing ssl, which costs 5 ms: who has a context has imported it.
    ssl = sys.modules.get("ssl")
    if ssl is None or not isinstance(value, ssl.SSLContext):
        raise TypeError(f"TLS needs an ssl.SSLContext, not {value!r}")


def check_encrypts(tls_context: Any, endpoint: Endpoint) -> None:
    """Refuse an endpoint on which a `tls_context` would be of no use: what is meant to be secret would go in clear.

    Raises:
        EndpointError: it is not a tls: endpoint.
    """
    if tls_context is not None and endpoint.kind != "tls":
        example = f": write 'tls:{str(endpoint).removeprefix('tcp:')}'" if endpoint.kind == "tcp" else ""
        raise EndpointError(f"{endpoint.shown}: tls_context= needs a tls: endpoint{example}")


def check_grace(value: Any) -> None:
    """Refuse what is no grace for a stop (TypeError or ValueError)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"grace is a number of seconds, not {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"grace is a number of seconds, 0 or more, not {value!r}")


def check_known(settings: dict[str, Any], *known: dict[str, Any]) -> None:
    """Refuse a keyword that is not a setting, naming the nearest (TypeError)."""
    names = {name for group in known for name in group}
    for name in settings:
        if name not in names:
            raise TypeError(f"there is no setting {name!r}{nearest(name, names)}")


def nearest(name: str, known: Any) -> str:
    """The end of a sentence about an unknown name: the one that was probably meant, or all there are."""
    import difflib  # here because only errors need it, and it costs 1 ms to import

    # What begins so is near however long it goes on; of other names, by half the letters 'reload' is near 'write_low'.
    begun = [other for other in sorted(known) if len(name) > 2 and other.startswith(f"{name}_")]
    close = begun or difflib.get_close_matches(name, list(known), 1, 0.65)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(sorted(known))}"


def _check_callback_name(cls: type, name: str, callbacks: dict[str, str]) -> None:
    for right in callbacks:
        if is_slip(name, right):
            raise TypeError(f"{cls.__name__}.{name} would never be called; did you mean {right}?")
    for synonyms in (_SYNONYMS, _CLIENT_SYNONYMS):
        if (right := synonyms.get(name, "")) in callbacks:
            warnings.warn(f"{cls.__name__}.{name} is never called by trews; the callback is {right}", stacklevel=4)


def _check_setting_name(cls: type, name: str, settings: dict[str, Any]) -> None:
    for right in settings:
        if is_near(name, right):
            raise TypeError(f"{cls.__name__}.{name} is not a setting; did you mean {right}?")


def is_near(name: str, right: str) -> bool:
    """Whether `name` is one letter away from `right`: missing, too many, another, or two swapped."""
    if name == right or abs(len(name) - len(right)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(name, right, strict=False)) if a != b), None)
    if start is None:
        return True  # one more or one less at the end
    rest, want = name[start:], right[start:]
    return rest[1:] in (want, want[1:]) or rest == want[1:] or (rest[:2] == want[:2][::-1] and rest[2:] == want[2:])
