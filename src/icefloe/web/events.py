"""Tells pages that are open of changes, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["Hub"]

_ALIVE = 15.0  # seconds; a comment so often keeps tunnels open and finds pages that were closed


class Hub:
    """The last version of the table, and who waits for a later one.

    An event is ``change`` (the page asks for what changed since the version it has), ``reset``
    (the server was started again: the page loads all) or ``live`` (how a live run keeps up). The
    identity of an event is that of the server's run and the version, so that a browser that lost
    its connection says what it has seen last and hears at once what it missed.
    """

    def __init__(self) -> None:
        self._news = asyncio.Condition()
        self._version, self._live = -1, ""
        self._closed = asyncio.Event()

    async def publish(self, version: int, *, live: dict[str, Any] | None = None) -> None:
        """Tell all pages; those that know the version and the live facts hear nothing."""
        text = self._live if live is None else json.dumps(live, ensure_ascii=False)
        async with self._news:
            if (version, text) != (self._version, self._live):
                self._version, self._live = version, text
                self._news.notify_all()

    async def close(self) -> None:
        """End all streams."""
        async with self._news:
            self._closed.set()
            self._news.notify_all()

    async def stream(self, boot: str, last: str, version: int) -> AsyncIterator[bytes]:
        """Yield events from the one after `last` on.

        Parameters
        ----------
        boot
            Identity of this run of the server.
        last
            Identity of the last event that the page has seen; empty for a new page.
        version
            Of the table now.
        """
        seen, live = version, ""
        run, _, number = last.partition("-")
        if last and run != boot:
            yield _event("reset", f"{boot}-{version}", {"version": version})
        elif last and number.isdigit() and int(number) < version:
            yield _event("change", f"{boot}-{version}", {"version": version})
        else:
            yield _event("hello", f"{boot}-{version}", {"version": version})
        while True:
            async with self._news:
                try:
                    if self._version <= seen and self._live == live and not self._closed.is_set():
                        await asyncio.wait_for(self._news.wait(), _ALIVE)
                except TimeoutError:
                    pass
                now, told = self._version, self._live
            if self._closed.is_set():
                return
            if now > seen:
                seen = now
                yield _event("change", f"{boot}-{now}", {"version": now})
            elif told != live:
                live = told
                yield f"event: live\ndata: {told}\n\n".encode()
            else:
                yield b": alive\n\n"


def _event(kind: str, identity: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\nid: {identity}\ndata: {json.dumps(data)}\n\n".encode()
