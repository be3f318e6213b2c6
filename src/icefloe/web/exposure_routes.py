"""Addresses of a single exposure: numbers, pictures, figures, picks by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from icefloe.project import ExposureRecord, Project
from icefloe.web import changes, crops, exposure, tools
from icefloe.web.served import Handler, NoSuchError, Served, body, routes

__all__ = ["ExposureRoutes"]


class ExposureRoutes:
    """What is asked of one exposure, in the session or in its trial."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._scores: tuple[int, dict[str, Any]] | None = None

    def routes(self) -> list[Route]:
        """Return the addresses."""
        get: dict[str, Handler] = {
            "/api/exposure": self.exposure,
            "/api/picture": self.picture,
            "/api/figure": self.figure,
            "/api/crop": self.crop,
            "/api/scores": self.scores,
        }
        post: dict[str, Handler] = {
            "/api/picks": self.save_picks,
            "/api/limits": self.choose_picks,
        }
        return [*routes("GET", get), *routes("POST", post)]

    async def exposure(self, request: Request) -> Response:
        """Give all there is to know of an exposure."""

        def make() -> dict[str, Any]:
            return exposure.exposure_detail(self.served.project, self._record(request))

        return JSONResponse(await run_in_threadpool(make))

    async def picture(self, request: Request) -> Response:
        """Give a picture of an exposure."""

        def make() -> bytes | None:
            name = request.query_params.get("picture", "")
            return exposure.picture(*self._shown(request), name)

        content = await run_in_threadpool(make)
        if content is None:
            raise NoSuchError("There is no such picture")
        return Response(content, media_type="image/png", headers={"cache-control": "no-cache"})

    async def figure(self, request: Request) -> Response:
        """Give a figure of an exposure."""

        def make() -> bytes | None:
            record = self._shown(request)[1]
            return exposure.figure(record, request.query_params.get("figure", ""))

        content = await run_in_threadpool(make)
        if content is None:
            raise NoSuchError("There is no such figure")
        return Response(content, media_type="image/svg+xml")

    async def crop(self, request: Request) -> Response:
        """Give a part of a micrograph."""
        given = {k: v for k, v in request.query_params.items() if k != "v"}
        asked = crops.CropIn.model_validate(given)
        record = await run_in_threadpool(partial(self._record, request))
        content = await run_in_threadpool(crops.crop, self.served.project, record, asked)
        if content is None:
            raise NoSuchError("There is no such part of a micrograph")
        return Response(content, media_type="image/png")

    async def scores(self, request: Request) -> Response:
        """Give how scores and powers of the session's picks are distributed."""
        version = self.served.watch.table.version
        if self._scores is None or self._scores[0] != version:
            found = await run_in_threadpool(self.served.watch.scores)
            self._scores = (version, found)
        return JSONResponse(self._scores[1])

    async def save_picks(self, request: Request) -> Response:
        """Write the picks by hand of one micrograph."""
        asked = await body(request, changes.HandPicksIn)

        def make() -> int:
            record = self.served.watch.record(asked.name)
            if record is None:
                raise NoSuchError("There is no such exposure")
            return changes.save_picks(self.served.project, record, asked)

        return JSONResponse({"saved": await run_in_threadpool(make)})

    async def choose_picks(self, request: Request) -> Response:
        """Choose the picks of the session by limits of score and power, or say what that does."""
        asked = await body(request, tools.LimitsIn)
        found = await run_in_threadpool(tools.choose_picks, self.served.project, asked)
        if asked.save:  # pages see it at once
            await run_in_threadpool(self.served.watch.poll)
            await self.served.hub.publish(self.served.watch.table.version)
        return JSONResponse(found)

    def _record(self, request: Request) -> ExposureRecord:
        record = self.served.watch.record(request.query_params.get("name", ""))
        if record is None:
            raise NoSuchError("There is no such exposure")
        return record

    def _shown(self, request: Request) -> tuple[Project, ExposureRecord]:
        """Return the exposure that is asked for, with ``trial`` as it became in the trial."""
        if "trial" not in request.query_params:
            return self.served.project, self._record(request)
        found = self.served.trials.record(request.query_params.get("name", ""))
        if found is None:
            raise NoSuchError("There is no such exposure in the trial")
        return found[0], found[2]
