"""A stream core by itself, between a socket that does what a test says and owners that note."""

from __future__ import annotations

import types

from trews.transport.core import StreamCore


class Sock:
    """Answers recv and send as a test says; by default nothing comes, and everything is taken."""

    def __init__(self):
        self.incoming: list[bytes | OSError] = []
        self.takes: list[int | OSError] = []  # how many bytes each send takes
        self.sent = b""
        self.sizes: list[int] = []  # of each recv
        self.pieces: list[int] = []  # of each sendmsg
        self.shut: list[int] = []

    def fileno(self):
        return 7

    def recv(self, size):
        self.sizes.append(size)
        answer = self.incoming.pop(0) if self.incoming else BlockingIOError()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def recv_into(self, buffer):
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data):
        take = self.takes.pop(0) if self.takes else len(data)
        if isinstance(take, OSError):
            raise take
        self.sent += bytes(data[:take])
        return min(take, len(data))

    def sendmsg(self, pieces):
        self.pieces.append(len(pieces))
        return self.send(b"".join(pieces))

    def shutdown(self, how):
        self.shut.append(how)


class Case:
    """A core; `notes` is what its face, owner and loop were asked, `watched` what is polled for."""

    def __init__(self):
        self.notes = []
        self.sock = Sock()
        self.watched = []
        self.tick = 1.0
        self.data = b""
        self.soon = []
        self.admits = True
        self.protocol = types.SimpleNamespace(eof_received=lambda: self.notes.append("eof") or self.keeps_open)
        self.keeps_open = True
        self.clock = types.SimpleNamespace(now=lambda: 10.0)  # as a loop of ours has one
        self.core = StreamCore(self.sock, self, self, self)
        self.core.data_received = self.received
        self.core.starting = False
        self.core.watch()

    # -- the poller, and the loop

    def watch(self, fd, watcher, mask):
        assert (fd, watcher) == (7, self.core)
        self.watched.append(mask)

    def call_soon(self, function, *args):
        self.soon.append((function, args))

    def run_soon(self):
        while self.soon:
            function, args = self.soon.pop(0)
            function(*args)

    # -- the face, and the owner

    def received(self, data):
        self.data += data

    def get_protocol(self):
        return self.protocol

    def _fatal_error(self, exc, message):
        self.notes.append((type(exc), message))
        self.core.lose(exc)

    def _maybe_resume_protocol(self):
        self.notes.append("resume")

    def _call_connection_lost(self, exc):
        self.notes.append(("lost", exc))

    def _refuse_write(self, data):
        self.notes.append(("refused", data))

    def _admit_more(self):
        return self.admits

    def _backlogged(self):
        self.notes.append("backlogged")
