"""Addresses of the session as a whole: its table, and events as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from icefloe import __version__
from icefloe.errors import IcefloeError
from icefloe.web import tools
from icefloe.web.served import Handler, Served, routes, whole

__all__ = ["SessionRoutes"]


class SessionRoutes:
    """The session as a whole, watched as long as the server runs."""

    def __init__(self, served: Served, poll: float) -> None:
        self.served, self._poll = served, poll

    def routes(self) -> list[Route]:
        """Return the addresses."""
        get: dict[str, Handler] = {
            "/api/session": self.session,
            "/api/table": self.table,
            "/api/events": self.events,
        }
        return routes("GET", get)

    async def session(self, request: Request) -> Response:
        """Give what is known of the session as a whole."""
        content = {
            "name": "" if self.served.calculator else self.served.project.root.name,
            "path": str(self.served.project.root),
            "version": __version__,
            "role": request.scope["icefloe.role"],
            "boot": self.served.boot,
            "calculator": self.served.calculator,
            "problem": self.served.watch.problem,
            "live": await run_in_threadpool(self._live),
        }
        return JSONResponse(content)

    async def table(self, request: Request) -> Response:
        """Give all exposures, or those that changed since a version, as columns."""
        since = whole(request.query_params.get("since", "-1"))

        def make() -> bytes:
            with self.served.watch.lock:
                return self.served.watch.table.packed(since)

        content = await run_in_threadpool(make)
        return Response(content, media_type="application/octet-stream")

    async def events(self, request: Request) -> Response:
        """Tell of changes as they come, and at once of what a lost connection missed."""
        last = request.headers.get("last-event-id", "")
        stream = self.served.hub.stream(self.served.boot, last, self.served.watch.table.version)
        return StreamingResponse(stream, media_type="text/event-stream")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Watch the files as long as the server runs."""
        await run_in_threadpool(self.served.watch.poll)
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.served.hub.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        took = 0.0
        while True:
            # A very large session on a slow disk must not be looked at all the time.
            await asyncio.sleep(max(self._poll, 4 * took))
            start = loop.time()
            with suppress(OSError, IcefloeError):
                await self._look()
                if self.served.lists_due:
                    self.served.lists_due = False
                    await run_in_threadpool(self.served.watch.write_lists)
            took = loop.time() - start

    async def _look(self) -> None:
        if await run_in_threadpool(self.served.watch.poll):
            await self.served.hub.publish(self.served.watch.table.version)
        else:
            await self.served.hub.publish(self.served.watch.table.version, live=self._live())

    def _live(self) -> dict[str, Any]:
        found = tools.live_facts(self.served.project)
        return {**found, **self.served.watch.pace()} if found["running"] else found
