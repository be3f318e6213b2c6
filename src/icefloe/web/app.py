"""The page's addresses and what each answers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from icefloe import __version__
from icefloe.errors import IcefloeError
from icefloe.project import ExposureRecord, Project
from icefloe.web import changes, classes, crops, exports, exposure, tools
from icefloe.web.events import Hub
from icefloe.web.security import Gate, Tokens
from icefloe.web.trials import AdoptIn, TrialIn, Trials
from icefloe.web.watch import Watch, current_rules

__all__ = ["create_app"]

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]

_POLL = 1.5  # seconds between two looks at the files; longer where a look takes long
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class _NoSuchError(Exception):
    """What was asked for is not there."""


def create_app(
    project: Project,
    tokens: Tokens,
    *,
    cookie: str = "icefloe",
    poll: float = _POLL,
    watch: Watch | None = None,
    calculator: bool = False,
) -> Starlette:
    """Return the server of a session's page.

    Parameters
    ----------
    project
        The session.
    tokens
        What a browser must show.
    cookie
        Name of the cookie that keeps the token.
    poll
        Seconds between two looks at the session's files.
    watch
        What keeps the table up to date; made here if left out.
    calculator
        The page shows its calculator only, for want of a session; `project` is an empty one.
    """
    page = _Page(project, poll, watch or Watch(project), calculator=calculator)
    app = Starlette(
        routes=page.routes(),
        middleware=[Middleware(partial(Gate, tokens=tokens, cookie=cookie))],
        lifespan=page.lifespan,
        exception_handlers={
            _NoSuchError: _not_found,
            ValidationError: _invalid,
            IcefloeError: _refused,
        },
    )
    app.state.close = page.hub.close  # ends all streams
    return app


class _Page:
    def __init__(self, project: Project, poll: float, watch: Watch, *, calculator: bool) -> None:
        self._calculator = calculator
        self.project, self.watch, self.hub = project, watch, Hub()
        self._poll, self._boot = poll, secrets.token_hex(4)
        self._files, self.trials = _static_files(), Trials(project)
        self._lists_due = False
        self._scores: tuple[int, dict[str, Any]] | None = None

    def routes(self) -> list[Route]:
        """Return all addresses; files of the page by name, never by path."""
        get: dict[str, Handler] = {
            "/api/session": self.session,
            "/api/table": self.table,
            "/api/events": self.events,
            "/api/exposure": self.exposure,
            "/api/picture": self.picture,
            "/api/figure": self.figure,
            "/api/crop": self.crop,
            "/api/scores": self.scores,
            "/api/rules": self.rules,
            "/api/calculator": self.calculator,
            "/api/settings": self.settings,
            "/api/downloads": self.downloads,
            "/api/download": self.download,
            "/api/trial": self.trial,
            "/api/trial/exposure": self.trial_exposure,
            "/api/classes": self.classes,
            "/api/classes/set": self.class_set,
            "/api/classes/picture": self.class_picture,
        }
        post: dict[str, Handler] = {
            "/api/decisions": self.decide,
            "/api/rules/preview": self.preview,
            "/api/rules": self.save_rules,
            "/api/picks": self.save_picks,
            "/api/settings": self.save_settings,
            "/api/export": self.export,
            "/api/trial": self.try_settings,
            "/api/trial/adopt": self.adopt,
            "/api/classes/select": self.select_classes,
        }
        made = [Route(path, call, methods=["GET"]) for path, call in get.items()]
        made += [Route(path, call, methods=["POST"]) for path, call in post.items()]
        made.append(Route("/", self.static, methods=["GET"]))
        made.append(Route("/static/{file:path}", self.static, methods=["GET"]))
        return made

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Watch the files as long as the server runs."""
        await run_in_threadpool(self.watch.poll)
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.hub.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        took = 0.0
        while True:
            # A very large session on a slow disk must not be looked at all the time.
            await asyncio.sleep(max(self._poll, 4 * took))
            start = loop.time()
            with suppress(OSError, IcefloeError):
                await self._look()
                if self._lists_due:
                    self._lists_due = False
                    await run_in_threadpool(self.watch.write_lists)
            took = loop.time() - start

    async def _look(self) -> None:
        if await run_in_threadpool(self.watch.poll):
            await self.hub.publish(self.watch.table.version)
        else:
            await self.hub.publish(self.watch.table.version, live=self._live())

    def _live(self) -> dict[str, Any]:
        found = tools.live_facts(self.project)
        return {**found, **self.watch.pace()} if found["running"] else found

    async def static(self, request: Request) -> Response:
        """Give a file of the page."""
        name = request.path_params.get("file", "index.html")
        if name not in self._files:
            raise _NoSuchError("There is no such file")
        kind = _KINDS.get(Path(name).suffix, "text/plain; charset=utf-8")
        return Response(self._files[name], headers={"content-type": kind})

    async def session(self, request: Request) -> Response:
        """Give what is known of the session as a whole."""
        content = {
            "name": "" if self._calculator else self.project.root.name,
            "path": str(self.project.root),
            "version": __version__,
            "role": request.scope["icefloe.role"],
            "boot": self._boot,
            "calculator": self._calculator,
            "problem": self.watch.problem,
            "live": await run_in_threadpool(self._live),
        }
        return JSONResponse(content)

    async def table(self, request: Request) -> Response:
        """Give all exposures, or those that changed since a version, as columns."""
        since = _whole(request.query_params.get("since", "-1"))

        def make() -> bytes:
            with self.watch.lock:
                return self.watch.table.packed(since)

        content = await run_in_threadpool(make)
        return Response(content, media_type="application/octet-stream")

    async def events(self, request: Request) -> Response:
        """Tell of changes as they come, and at once of what a lost connection missed."""
        last = request.headers.get("last-event-id", "")
        stream = self.hub.stream(self._boot, last, self.watch.table.version)
        return StreamingResponse(stream, media_type="text/event-stream")

    def _record(self, request: Request) -> ExposureRecord:
        record = self.watch.record(request.query_params.get("name", ""))
        if record is None:
            raise _NoSuchError("There is no such exposure")
        return record

    def _shown(self, request: Request) -> tuple[Project, ExposureRecord]:
        """Return the exposure that is asked for, with ``trial`` as it became in the trial."""
        if "trial" not in request.query_params:
            return self.project, self._record(request)
        found = self.trials.record(request.query_params.get("name", ""))
        if found is None:
            raise _NoSuchError("There is no such exposure in the trial")
        return found[0], found[2]

    async def exposure(self, request: Request) -> Response:
        """Give all there is to know of an exposure."""

        def make() -> dict[str, Any]:
            return exposure.exposure_detail(self.project, self._record(request))

        return JSONResponse(await run_in_threadpool(make))

    async def picture(self, request: Request) -> Response:
        """Give a picture of an exposure."""

        def make() -> bytes | None:
            name = request.query_params.get("picture", "")
            return exposure.picture(*self._shown(request), name)

        content = await run_in_threadpool(make)
        if content is None:
            raise _NoSuchError("There is no such picture")
        return Response(content, media_type="image/png", headers={"cache-control": "no-cache"})

    async def figure(self, request: Request) -> Response:
        """Give a figure of an exposure."""

        def make() -> bytes | None:
            record = self._shown(request)[1]
            return exposure.figure(record, request.query_params.get("figure", ""))

        content = await run_in_threadpool(make)
        if content is None:
            raise _NoSuchError("There is no such figure")
        return Response(content, media_type="image/svg+xml")

    async def crop(self, request: Request) -> Response:
        """Give a part of a micrograph."""
        asked = crops.CropIn.model_validate(dict(request.query_params))
        record = await run_in_threadpool(partial(self._record, request))
        content = await run_in_threadpool(crops.crop, self.project, record, asked)
        if content is None:
            raise _NoSuchError("There is no such part of a micrograph")
        return Response(content, media_type="image/png")

    async def scores(self, request: Request) -> Response:
        """Give how scores and powers of the session's picks are distributed."""
        version = self.watch.table.version
        if self._scores is None or self._scores[0] != version:
            found = await run_in_threadpool(self.watch.scores)
            self._scores = (version, found)
        return JSONResponse(self._scores[1])

    async def rules(self, request: Request) -> Response:
        """Give the session's rules and the built-in ones."""
        from icefloe.curation import DEFAULT_RULES
        from icefloe.curation.store import rules_path

        own = current_rules(self.project)
        content = {
            "saved": rules_path(self.project).is_file(),
            "rules": [{"keep": str(r), "reason": r.reason} for r in own],
            "defaults": [{"keep": str(r), "reason": r.reason} for r in DEFAULT_RULES],
        }
        return JSONResponse(content)

    async def preview(self, request: Request) -> Response:
        """Say what rules would take; nothing is written."""
        asked = await _body(request, changes.RulesIn)

        def make() -> dict[str, Any]:
            records = self.watch.records()
            return changes.preview_rules(changes.parse_rules(asked, records), records)

        return JSONResponse(await run_in_threadpool(make))

    async def save_rules(self, request: Request) -> Response:
        """Make rules the session's own."""
        asked = await _body(request, changes.RulesIn)

        def make() -> None:
            rules = changes.parse_rules(asked, self.watch.records())
            changes.save_rules(self.project, rules)

        await run_in_threadpool(make)
        return await self._changed({"saved": len(asked.rules)})

    async def decide(self, request: Request) -> Response:
        """Write decisions by hand to the journal."""
        asked = await _body(request, changes.DecisionsIn)

        def make() -> int:
            known = {record.name: record for record in self.watch.records()}
            return changes.decide(self.project, known, asked)

        return await self._changed({"decided": await run_in_threadpool(make)})

    async def _changed(self, content: dict[str, Any]) -> Response:
        # What follows from it reaches this page and all others as an event.
        self._lists_due = True
        await run_in_threadpool(self.watch.judge)
        await self.hub.publish(self.watch.table.version)
        return JSONResponse(content)

    async def save_picks(self, request: Request) -> Response:
        """Write the picks by hand of one micrograph."""
        asked = await _body(request, changes.HandPicksIn)

        def make() -> int:
            record = self.watch.record(asked.name)
            if record is None:
                raise _NoSuchError("There is no such exposure")
            return changes.save_picks(self.project, record, asked)

        return JSONResponse({"saved": await run_in_threadpool(make)})

    async def trial(self, request: Request) -> Response:
        """Give how far the trial of settings is, or what came of it."""
        return JSONResponse(await run_in_threadpool(self.trials.state))

    async def trial_exposure(self, request: Request) -> Response:
        """Give an exposure of the trial, before and after."""

        def make() -> dict[str, Any]:
            found = self.trials.record(request.query_params.get("name", ""))
            if found is None:
                raise _NoSuchError("There is no such exposure in the trial")
            trial, old, new = found
            return {
                "old": exposure.exposure_detail(self.project, old),
                "new": exposure.exposure_detail(trial, new),
            }

        return JSONResponse(await run_in_threadpool(make))

    async def try_settings(self, request: Request) -> Response:
        """Begin to try settings on a few exposures, beside the session."""
        asked = await _body(request, TrialIn)
        await run_in_threadpool(self.trials.start, asked)
        return JSONResponse({"started": asked.count})

    async def adopt(self, request: Request) -> Response:
        """Take over the settings that were tried, or say what that makes stale."""
        asked = await _body(request, AdoptIn)
        return JSONResponse(await run_in_threadpool(partial(self.trials.adopt, save=asked.save)))

    async def classes(self, request: Request) -> Response:
        """Give the sets of class averages that the session has."""
        return JSONResponse(await run_in_threadpool(classes.class_sets, self.project))

    async def class_set(self, request: Request) -> Response:
        """Give the numbers of a set's classes."""
        key = request.query_params.get("set", "")
        return JSONResponse(await run_in_threadpool(classes.class_detail, self.project, key))

    async def class_picture(self, request: Request) -> Response:
        """Give a class average."""
        key = request.query_params.get("set", "")
        number = _whole(request.query_params.get("number", ""))
        content = await run_in_threadpool(classes.class_picture, self.project, key, number)
        if content is None:
            raise _NoSuchError("There is no such class")
        return Response(content, media_type="image/png", headers={"cache-control": "no-cache"})

    async def select_classes(self, request: Request) -> Response:
        """Save chosen classes as templates."""
        asked = await _body(request, classes.ClassesIn)
        return JSONResponse(await run_in_threadpool(classes.save_selection, self.project, asked))

    async def calculator(self, request: Request) -> Response:
        """Work out box size, delocalisation and a CTF curve."""
        asked = tools.CalculatorIn.model_validate(dict(request.query_params))
        return JSONResponse(tools.calculate(asked))

    async def settings(self, request: Request) -> Response:
        """Give all settings with their descriptions."""
        return JSONResponse(await run_in_threadpool(tools.settings_list, self.project))

    async def save_settings(self, request: Request) -> Response:
        """Change settings, or only say what a change would make stale."""
        asked = await _body(request, tools.SettingsIn)
        return JSONResponse(await run_in_threadpool(tools.change, self.project, asked))

    async def export(self, request: Request) -> Response:
        """Write a report or an export."""
        asked = await _body(request, exports.ExportIn)
        return JSONResponse(await run_in_threadpool(exports.make, self.project, asked))

    async def downloads(self, request: Request) -> Response:
        """Give the names of reports and exports that were made."""
        return JSONResponse(await run_in_threadpool(exports.offered, self.project))

    async def download(self, request: Request) -> Response:
        """Give one of them."""
        name = request.query_params.get("file", "")
        found = await run_in_threadpool(exports.download, self.project, name)
        if found is None:
            raise _NoSuchError("There is no such file; make it first")
        path, kind = found
        # Saved, not shown: a report's own scripts and styles are not the page's.
        return FileResponse(path, media_type=kind, filename=name)


def _static_files() -> dict[str, bytes]:
    """Return the page's own files by name; nothing else is ever sent."""
    found: dict[str, bytes] = {}
    root = resources.files("icefloe.web") / "static"
    for folder in ("", "vendor/"):
        base = root / folder if folder else root
        for item in base.iterdir():
            if item.is_file():
                found[folder + item.name] = item.read_bytes()
    return found


def _whole(text: str) -> int:
    try:
        return int(text[:18])
    except ValueError:
        raise _NoSuchError("A version is a whole number") from None


async def _body(request: Request, model: type[M]) -> M:
    return model.model_validate_json(await request.body())


async def _not_found(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = f"{where}: {first['msg']}" if where else first["msg"]
    return JSONResponse({"error": message}, 422)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)
