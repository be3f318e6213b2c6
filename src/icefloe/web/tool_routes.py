"""Addresses of the tools: class averages, exports and downloads, the calculator."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from icefloe.web import classes, exports, tools
from icefloe.web.served import Handler, NoSuchError, Served, body, routes, whole

__all__ = ["ToolRoutes"]


class ToolRoutes:
    """Class averages, exports, the calculator."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def routes(self) -> list[Route]:
        """Return the addresses."""
        get: dict[str, Handler] = {
            "/api/classes": self.classes,
            "/api/classes/set": self.class_set,
            "/api/classes/picture": self.class_picture,
            "/api/calculator": self.calculator,
            "/api/downloads": self.downloads,
            "/api/download": self.download,
        }
        post: dict[str, Handler] = {
            "/api/classes/select": self.select_classes,
            "/api/export": self.export,
        }
        return [*routes("GET", get), *routes("POST", post)]

    async def classes(self, request: Request) -> Response:
        """Give the sets of class averages that the session has."""
        return JSONResponse(await run_in_threadpool(classes.class_sets, self.served.project))

    async def class_set(self, request: Request) -> Response:
        """Give the numbers of a set's classes."""
        key = request.query_params.get("set", "")
        return JSONResponse(await run_in_threadpool(classes.class_detail, self.served.project, key))

    async def class_picture(self, request: Request) -> Response:
        """Give a class average."""
        key = request.query_params.get("set", "")
        number = whole(request.query_params.get("number", ""))
        content = await run_in_threadpool(classes.class_picture, self.served.project, key, number)
        if content is None:
            raise NoSuchError("There is no such class")
        return Response(content, media_type="image/png", headers={"cache-control": "no-cache"})

    async def select_classes(self, request: Request) -> Response:
        """Save chosen classes as templates."""
        asked = await body(request, classes.ClassesIn)
        return JSONResponse(
            await run_in_threadpool(classes.save_selection, self.served.project, asked)
        )

    async def calculator(self, request: Request) -> Response:
        """Work out box size, delocalisation and a CTF curve."""
        asked = tools.CalculatorIn.model_validate(dict(request.query_params))
        return JSONResponse(tools.calculate(asked))

    async def export(self, request: Request) -> Response:
        """Write a report or an export."""
        asked = await body(request, exports.ExportIn)
        return JSONResponse(await run_in_threadpool(exports.make, self.served.project, asked))

    async def downloads(self, request: Request) -> Response:
        """Give the names of reports and exports that were made."""
        return JSONResponse(await run_in_threadpool(exports.offered, self.served.project))

    async def download(self, request: Request) -> Response:
        """Give one of them."""
        name = request.query_params.get("file", "")
        found = await run_in_threadpool(exports.download, self.served.project, name)
        if found is None:
            raise NoSuchError("There is no such file; make it first")
        path, kind = found
        # Saved, not shown: a report's own scripts and styles are not the page's.
        return FileResponse(path, media_type=kind, filename=name)
