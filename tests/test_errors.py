"""The exceptions: their tree, their words, and what the operating system's become."""

from __future__ import annotations

import errno
import inspect
import re

import pytest

import trews
from trews import errors
from trews.errors import closed_by, sentence

CLASSES = {
    name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and cls.__module__ == errors.__name__
}
REASONS = [cls for cls in CLASSES.values() if issubclass(cls, errors.ConnectionClosed)]

# Of which class of the standard library they are, too.
ALSO = {
    errors.EndpointError: ValueError,
    errors.ListenError: OSError,
    errors.ResolveError: OSError,
    errors.ConnectError: ConnectionError,
    errors.ConnectTimedOut: TimeoutError,
    errors.TimedOut: TimeoutError,
}


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:\s|$)", line)
        if match and match[2] in CLASSES:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}


def test_all_of_them_are_at_the_top():
    assert [name for name in CLASSES if getattr(trews, name, None) is not CLASSES[name]] == []


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_error_is_the_root_and_each_has_a_docstring(cls):
    assert issubclass(cls, trews.Error)
    assert cls.__doc__


@pytest.mark.parametrize(("cls", "also"), ALSO.items())
def test_also(cls, also):
    assert issubclass(cls, also)


def test_the_names_of_the_standard_library_are_not_shadowed():
    assert not issubclass(errors.ConnectionReset, ConnectionResetError)
    assert not issubclass(errors.ConnectionClosed, OSError)


class TestReasons:
    """`ConnectionClosed`, the reason why a connection ended, one class each."""

    @pytest.mark.parametrize("cls", REASONS)
    def test_clean_ones(self, cls):
        assert cls.is_clean is (cls in (errors.ClosedByPeer, errors.ClosedLocally, errors.Switched))

    @pytest.mark.parametrize("cls", REASONS)
    def test_without_a_message_it_still_says_something(self, cls):
        assert len(str(cls())) > 10
        assert cls().connection is None

    @pytest.mark.parametrize("cls", REASONS)
    def test_fresh_is_a_copy_with_a_traceback_of_its_own(self, cls):
        reason = cls(b"part") if cls is errors.IncompleteMessage else cls("what happened")
        reason.connection = object()
        reason.__cause__ = ValueError("why")
        try:
            raise reason
        except errors.ConnectionClosed:
            pass
        copy = reason.fresh()
        assert type(copy) is cls
        assert copy is not reason
        assert str(copy) == str(reason)
        assert copy.connection is reason.connection
        assert copy.__cause__ is reason.__cause__
        assert copy.__traceback__ is None
        assert reason.__traceback__ is not None

    def test_incomplete_message_keeps_what_came(self):
        reason = errors.IncompleteMessage(bytearray(b"abc"))
        assert reason.partial == b"abc"
        assert type(reason.partial) is bytes
        assert "3 bytes" in str(reason)
        assert reason.fresh().partial == b"abc"

    @pytest.mark.parametrize(
        ("status", "words"), [(0, "with status 0"), (7, "with status 7"), (-9, "by SIGKILL"), (-200, "by signal 200")]
    )
    def test_how_a_program_has_ended(self, status, words):
        reason = errors.ProcessExited(status=status)
        assert words in str(reason)
        assert reason.fresh().status == status
        assert reason.is_clean is reason.fresh().is_clean is (status == 0)

    def test_fresh_of_a_users_own_reason(self):
        class Kicked(errors.ConnectionClosed):
            def __init__(self, by, why):
                super().__init__(f"kicked by {by}: {why}")
                self.by = by

        copy = Kicked("ada", "spam").fresh()
        assert str(copy) == "kicked by ada: spam"
        assert copy.by == "ada"


class TestEndpointError:
    def test_it_shows_the_position(self):
        error = errors.EndpointError("a port is a number up to 65535", "tcp:localhost:99999", 14)
        assert str(error).splitlines() == [
            "a port is a number up to 65535",
            "  tcp:localhost:99999",
            "                ^",
        ]
        assert (error.text, error.position) == ("tcp:localhost:99999", 14)

    def test_without_a_position(self):
        assert str(errors.EndpointError("it cannot be None")) == "it cannot be None"

    def test_control_characters_do_not_move_the_caret(self):
        assert str(errors.EndpointError("what", "a\tb\nc", 4)).splitlines()[1:] == ["  a?b?c", "      ^"]


class TestConnectError:
    """Every address tried and why each failed."""

    def test_several(self):
        error = errors.ConnectError("localhost:80", [("[::1]:80", "connection refused"), ("127.0.0.1:80", "no answer")])
        assert str(error) == "cannot connect to localhost:80: [::1]:80: connection refused; 127.0.0.1:80: no answer"
        assert error.attempts == (("[::1]:80", "connection refused"), ("127.0.0.1:80", "no answer"))
        assert error.target == "localhost:80"

    def test_one_that_is_the_target_is_said_once(self):
        assert (
            str(errors.ConnectError("/run/x", [("/run/x", "no such file")])) == "cannot connect to /run/x: no such file"
        )

    def test_none(self):
        assert str(errors.ConnectError("no such host")) == "no such host"

    def test_timed_out_is_both(self):
        error = errors.ConnectTimedOut("x:1", [("x:1", "no answer")])
        assert isinstance(error, errors.ConnectError)
        assert isinstance(error, errors.TimedOut)


class TestClosedBy:
    """Network errors read as sentences, not errno."""

    @pytest.mark.parametrize(
        ("number", "cls"),
        [
            (errno.ECONNRESET, errors.ConnectionReset),
            (errno.EPIPE, errors.ConnectionReset),
            (errno.ECONNABORTED, errors.ConnectionReset),
            (errno.ETIMEDOUT, errors.PeerVanished),
            (errno.EHOSTUNREACH, errors.PeerVanished),
            (errno.EHOSTDOWN, errors.PeerVanished),
            (errno.EIO, errors.ConnectionReset),
        ],
    )
    def test_of_the_operating_system(self, number, cls):
        cause = OSError(number, "as the system says")
        reason = closed_by(cause)
        assert type(reason) is cls
        assert reason.__cause__ is cause
        assert "Errno" not in str(reason)

    def test_nothing_is_a_goodbye(self):
        assert type(closed_by(None)) is errors.ClosedByPeer

    def test_a_reason_stays_what_it_is(self):
        reason = errors.IdleTooLong("10 s")
        assert closed_by(reason) is reason

    def test_anything_else_is_a_failure_of_the_transport(self):
        reason = closed_by(ValueError("oops"))
        assert type(reason) is errors.Aborted
        assert "oops" in str(reason)


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (OSError(errno.EADDRINUSE, "x"), "in use by another program"),
        (OSError(errno.EACCES, "x"), "permission denied"),
        (OSError(errno.EMFILE, "x"), "too many open files"),
        (OSError(errno.ENOENT, "x"), "no such file"),
        (OSError(errno.EXDEV, "as the system says"), "as the system says"),
        (OSError("free text"), "free text"),
        (ValueError("oops"), "oops"),
        (ValueError(), "ValueError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_sentence(exc, words):
    assert words in sentence(exc)
    assert "Errno" not in sentence(exc)


def test_timed_out_is_only_where_the_connection_survives():
    assert not issubclass(errors.TimedOut, errors.ConnectionClosed)
    assert [cls.__name__ for cls in REASONS if issubclass(cls, TimeoutError)] == []
