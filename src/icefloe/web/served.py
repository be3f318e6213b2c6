"""What all of the page's addresses share: the session that is served, and how requests are read."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from icefloe.project import Project
from icefloe.web.events import Hub
from icefloe.web.trials import Trials
from icefloe.web.watch import Watch

__all__ = ["Handler", "NoSuchError", "Served", "body", "routes", "whole"]

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


class NoSuchError(Exception):
    """What was asked for is not there."""


@dataclass
class Served:
    """A session while its page is served.

    Attributes
    ----------
    project, watch
        The session, and what keeps the table up to date.
    trials
        Settings tried on a few exposures.
    calculator
        Only the calculator is shown.
    hub
        Tells open pages what changed.
    boot
        Names this run of the server.
    lists_due
        The lists of accepted and rejected exposures are to be written at the next look.
    """

    project: Project
    watch: Watch
    trials: Trials
    calculator: bool = False
    hub: Hub = field(default_factory=Hub)
    boot: str = field(default_factory=lambda: secrets.token_hex(4))
    lists_due: bool = False

    async def changed(self, content: dict[str, Any]) -> Response:
        """Answer a change of verdicts, and tell this page and all others what follows from it."""
        self.lists_due = True
        await run_in_threadpool(self.watch.judge)
        await self.hub.publish(self.watch.table.version)
        return JSONResponse(content)


def routes(method: str, handlers: Mapping[str, Handler]) -> list[Route]:
    """Return routes for handlers by address."""
    return [Route(path, call, methods=[method]) for path, call in handlers.items()]


def whole(text: str) -> int:
    """Return a whole number of a request."""
    try:
        return int(text[:18])
    except ValueError:
        raise NoSuchError("A version is a whole number") from None


async def body(request: Request, model: type[M]) -> M:
    """Return what a request holds, checked against its model."""
    return model.model_validate_json(await request.body())
