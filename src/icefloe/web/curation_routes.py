"""Addresses of curation: rules, their counts, decisions by hand."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from icefloe.web import changes
from icefloe.web.served import Handler, Served, body, routes
from icefloe.web.watch import current_rules

__all__ = ["CurationRoutes"]


class CurationRoutes:
    """Rules and decisions."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def routes(self) -> list[Route]:
        """Return the addresses."""
        get: dict[str, Handler] = {
            "/api/rules": self.rules,
        }
        post: dict[str, Handler] = {
            "/api/decisions": self.decide,
            "/api/rules/preview": self.preview,
            "/api/rules": self.save_rules,
        }
        return [*routes("GET", get), *routes("POST", post)]

    async def rules(self, request: Request) -> Response:
        """Give the session's rules and the built-in ones."""
        from icefloe.curation import DEFAULT_RULES
        from icefloe.curation.store import rules_path

        own = current_rules(self.served.project)
        content = {
            "saved": rules_path(self.served.project).is_file(),
            "rules": [{"keep": str(r), "reason": r.reason} for r in own],
            "defaults": [{"keep": str(r), "reason": r.reason} for r in DEFAULT_RULES],
        }
        return JSONResponse(content)

    async def preview(self, request: Request) -> Response:
        """Say what rules would take; nothing is written."""
        asked = await body(request, changes.RulesIn)

        def make() -> dict[str, Any]:
            records = self.served.watch.records()
            return changes.preview_rules(changes.parse_rules(asked, records), records)

        return JSONResponse(await run_in_threadpool(make))

    async def save_rules(self, request: Request) -> Response:
        """Make rules the session's own."""
        asked = await body(request, changes.RulesIn)

        def make() -> None:
            rules = changes.parse_rules(asked, self.served.watch.records())
            changes.save_rules(self.served.project, rules)

        await run_in_threadpool(make)
        return await self.served.changed({"saved": len(asked.rules)})

    async def decide(self, request: Request) -> Response:
        """Write decisions by hand to the journal."""
        asked = await body(request, changes.DecisionsIn)

        def make() -> int:
            known = {record.name: record for record in self.served.watch.records()}
            return changes.decide(self.served.project, known, asked)

        return await self.served.changed({"decided": await run_in_threadpool(make)})
