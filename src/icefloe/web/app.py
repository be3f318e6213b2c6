"""The page's server: all addresses, who may ask, and what errors become."""

from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from icefloe.errors import IcefloeError
from icefloe.project import Project
from icefloe.web.curation_routes import CurationRoutes
from icefloe.web.exposure_routes import ExposureRoutes
from icefloe.web.security import Gate, Tokens
from icefloe.web.served import NoSuchError, Served, routes
from icefloe.web.session_routes import SessionRoutes
from icefloe.web.settings_routes import SettingsRoutes
from icefloe.web.tool_routes import ToolRoutes
from icefloe.web.trials import Trials
from icefloe.web.watch import Watch

__all__ = ["create_app"]

_POLL = 1.5  # seconds between two looks at the files; longer where a look takes long
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


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
    served = Served(project, watch or Watch(project), Trials(project), calculator=calculator)
    session = SessionRoutes(served, poll)
    groups = (ExposureRoutes, CurationRoutes, SettingsRoutes, ToolRoutes)
    app = Starlette(
        routes=[
            *session.routes(),
            *(route for group in groups for route in group(served).routes()),
            *_page_routes(),
        ],
        middleware=[Middleware(partial(Gate, tokens=tokens, cookie=cookie))],
        lifespan=session.lifespan,
        exception_handlers={
            NoSuchError: _not_found,
            ValidationError: _invalid,
            IcefloeError: _refused,
        },
    )
    app.state.close = served.hub.close  # ends all streams
    return app


def _page_routes() -> list[Route]:
    """Return the addresses of the page's own files, which are found by name, never by path."""
    files = _static_files()

    async def static(request: Request) -> Response:
        name = request.path_params.get("file", "index.html")
        if name not in files:
            raise NoSuchError("There is no such file")
        kind = _KINDS.get(Path(name).suffix, "text/plain; charset=utf-8")
        return Response(files[name], headers={"content-type": kind})

    return routes("GET", {"/": static, "/static/{file:path}": static})


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
