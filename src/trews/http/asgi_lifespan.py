"""Lifespan: an ASGI application is told when its server starts and stops, and may keep a state for its requests.

Source: ASGI 3.0, Lifespan protocol 2.0.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from trews.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("trews.http")


class StartupFailed(Error):
    """An application has said that it cannot start. Says why, in the application's own words."""


class Lifespan:
    """One start and one stop of an application, both in one task.

    Args:
        app: the application.
        state: its state, a dict of its own.
        is_required: whether it must know this protocol; if not, one that raises is one without.
    """

    def __init__(self, app: Callable[..., Any], state: dict[str, Any], is_required: bool) -> None:
        self._app = app
        self._state = state
        self._is_required = is_required
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._asked = "lifespan.startup"
        self._asking: asyncio.Future[None] | None = None  # of the next thing to be asked, for `receive`
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Tell the application to start, and wait until it has.

        Raises:
            StartupFailed: it has said that it cannot.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            failure = await self._answer
        except BaseException:
            await self._end()
            raise
        if failure:
            await self._end()
            logger.error("the application cannot start: %s", failure)
            raise StartupFailed(f"the application cannot start: {_last_line(failure)}")

    async def stop(self) -> None:
        """Tell the application to stop, and wait until it has. What goes wrong is logged."""
        task = self._task
        if task is None or task.done():
            return
        self._answer = asyncio.get_running_loop().create_future()
        self._is_stopping = True
        self._asked = "lifespan.shutdown"
        if self._asking is not None and not self._asking.done():
            self._asking.set_result(None)
        try:
            failure = await self._answer
            if failure:
                logger.error("the application could not stop properly: %s", failure)
            await asyncio.wait([task])
        finally:
            await self._end()

    async def _end(self) -> None:
        """Have the task end, if it goes on."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
            "extensions": {},
        }
        failure = ""
        try:
            await self._app(scope, self._receive, self._send)
            if self._is_starting():
                failure = self._unsupported("it returned")
        except Exception as exc:
            if self._is_starting():
                failure = self._unsupported(f"it raised {exc!r}")
            else:
                logger.error("the lifespan of the application failed", exc_info=exc)
        finally:
            if not self._answer.done():
                self._answer.set_result(failure)

    def _is_starting(self) -> bool:
        return not (self._is_stopping or self._answer.done())

    def _unsupported(self, what: str) -> str:
        """An application that ends before it has answered: it does not know the protocol, which it may."""
        if self._is_required:
            return f"{what} when it was asked to start"
        logger.info("the application is not told of start and stop: %s when it was asked to start", what)
        return ""

    async def _receive(self) -> dict[str, Any]:
        asked, self._asked = self._asked, ""
        if not asked:
            self._asking = asyncio.get_running_loop().create_future()
            await self._asking
            asked, self._asked = self._asked, ""
        if asked == "lifespan.shutdown":
            self._asked = asked  # to whoever asks again
        return {"type": asked}

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in _ANSWERS or self._answer.done():
            raise RuntimeError(f"an application cannot send {kind!r} at this point of its lifespan")
        failed = kind.endswith(".failed")
        self._answer.set_result((message.get("message") or "it gave no reason") if failed else "")


_ANSWERS = (
    "lifespan.startup.complete",
    "lifespan.startup.failed",
    "lifespan.shutdown.complete",
    "lifespan.shutdown.failed",
)


def _last_line(text: str) -> str:
    """The last line of what may be a traceback."""
    return text.strip().rpartition("\n")[2].strip()
