"""What every stream transport must do, as checks that run over yours.

    @asynccontextmanager
    async def open_pair(client, server, **settings):
        ...     # join two connections, each of a Connection subclass or an async function; settings are for both
        yield one, other

    asyncio.run(check_all(open_pair))

`CHECKS` has them by name, to run each as a test of its own. Both ends must be connected (`on_connect` was called)
when `open_pair` yields; the end of its block aborts what is still open. A transport that shows a plain end where
its peer aborted, as Unix sockets do, says so: `open_pair.tells_resets = False`. The checks wait for events, and
never for more than 20 s; on a `VirtualLoop` they take no time.
"""

from trews.testing.conformance import reading, writing, files, flow, eof, ending  # noqa: F401, I001  # the order of the table
from trews.testing.conformance import callbacks, handlers, deadlines, facts, switching  # noqa: F401
from trews.testing.conformance.suite import CHECKS, SLOW, Check, OpenPair, Recorder, check_all, run_check

__all__ = ["CHECKS", "SLOW", "Check", "OpenPair", "Recorder", "check_all", "run_check"]
