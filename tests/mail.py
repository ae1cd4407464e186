"""What tests of STARTTLS share: a server as of SMTP, and a client after its first words."""

from __future__ import annotations

import trews
from tests.servers import Notes
from tests.tlspeer import contexts
from trews.framing import Line

LINES = Line(encoding="utf-8")
GO = b"220 go ahead\r\n"


class Mail(trews.Connection):
    """As of SMTP."""

    framer = LINES

    def on_read(self, line):
        if line == "STARTTLS":
            self.start_tls(contexts()[1], reply=GO)
        else:
            version = self.tls.version if self.tls else "clear"
            self.send(f"{version}: {line}")

    def on_close(self, reason):
        self.server.notes.append(reason)


def mail(handler=Mail, endpoint="tcp:localhost:0", **settings):
    return Notes(handler, **settings).listen(endpoint)


async def begun(server, **settings):
    """A client after the command and its answer."""
    conn = await trews.connect(server.endpoints[0], framer=LINES, **settings)
    conn.send("hello")
    assert await conn.read() == "clear: hello"
    conn.send("STARTTLS")
    assert await conn.read() == GO.decode().strip()
    return conn
