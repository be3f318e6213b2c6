"""Addresses of the settings, and of their trial on a few exposures."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from icefloe.web import exposure, tools
from icefloe.web.served import Handler, NoSuchError, Served, body, routes
from icefloe.web.trials import AdoptIn, TrialIn

__all__ = ["SettingsRoutes"]


class SettingsRoutes:
    """Settings shown, changed, tried."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def routes(self) -> list[Route]:
        """Return the addresses."""
        get: dict[str, Handler] = {
            "/api/settings": self.settings,
            "/api/trial": self.trial,
            "/api/trial/exposure": self.trial_exposure,
        }
        post: dict[str, Handler] = {
            "/api/settings": self.save_settings,
            "/api/trial": self.try_settings,
            "/api/trial/adopt": self.adopt,
            "/api/trial/cancel": self.cancel,
        }
        return [*routes("GET", get), *routes("POST", post)]

    async def settings(self, request: Request) -> Response:
        """Give all settings with their descriptions."""
        return JSONResponse(await run_in_threadpool(tools.settings_list, self.served.project))

    async def save_settings(self, request: Request) -> Response:
        """Change settings, or only say what a change would make stale."""
        asked = await body(request, tools.SettingsIn)
        return JSONResponse(await run_in_threadpool(tools.change, self.served.project, asked))

    async def trial(self, request: Request) -> Response:
        """Give how far the trial of settings is, or what came of it."""
        return JSONResponse(await run_in_threadpool(self.served.trials.state))

    async def trial_exposure(self, request: Request) -> Response:
        """Give an exposure of the trial, before and after."""

        def make() -> dict[str, Any]:
            found = self.served.trials.record(request.query_params.get("name", ""))
            if found is None:
                raise NoSuchError("There is no such exposure in the trial")
            trial, old, new = found
            return {
                "old": exposure.exposure_detail(self.served.project, old),
                "new": exposure.exposure_detail(trial, new),
            }

        return JSONResponse(await run_in_threadpool(make))

    async def try_settings(self, request: Request) -> Response:
        """Begin to try settings on a few exposures, beside the session."""
        asked = await body(request, TrialIn)
        await run_in_threadpool(self.served.trials.start, asked)
        return JSONResponse({"started": asked.count})

    async def adopt(self, request: Request) -> Response:
        """Take over the settings that were tried, or say what that makes stale."""
        asked = await body(request, AdoptIn)
        return JSONResponse(
            await run_in_threadpool(partial(self.served.trials.adopt, save=asked.save))
        )

    async def cancel(self, _: Request) -> Response:
        """End the trial that is at work."""
        self.served.trials.cancel()
        return JSONResponse({"cancelled": True})
