"""Where alarms go: a file in the session, a web hook, a command. None of them can stop a run."""

from __future__ import annotations

import json
import queue
import shlex
import subprocess
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from icefloe.engine.alarms import AlarmEvent, AlarmSettings

__all__ = ["AlarmSinks"]

ALARM_LOG = "alarms.log"
_WAITING = 100  # events; more are dropped when nobody takes them
_TIMEOUT = 5.0  # s, of the web hook
_COMMAND_TIMEOUT = 30.0


class AlarmSinks:
    """Tells about alarms, from a thread of its own; a run never waits for a server.

    Parameters
    ----------
    root
        The session's directory, where `alarms.log` gets a line an event.
    settings
        Web hook and command.
    """

    def __init__(self, root: Path, settings: AlarmSettings) -> None:
        self._root, self._settings = root, settings
        self._events: queue.Queue[AlarmEvent | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, event: AlarmEvent) -> None:
        """Write an event to the log, and send it on."""
        self._log(("ALARM " if event.raised else "ok    ") + event.message)
        if self._settings.webhook is None and self._settings.command is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="alarms", daemon=True)
            self._thread.start()
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._log(f"not sent, since {_WAITING} others wait: {event.message}")

    def close(self, timeout: float = _TIMEOUT) -> None:
        """Send what waits, for `timeout` seconds at most."""
        if self._thread is not None:
            try:
                self._events.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(timeout)

    def _send_all(self) -> None:
        while (event := self._events.get()) is not None:
            content = json.dumps({"session": str(self._root), **asdict(event)}, ensure_ascii=False)
            for target, send in (
                (self._settings.webhook, _post),
                (self._settings.command, _start),
            ):
                if target is None:
                    continue
                try:
                    send(target, content, event.message)
                except Exception as error:  # whatever is wrong with it, the run goes on
                    self._log(f"{target} could not be told: {error}")

    def _log(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n"
        try:
            with (self._root / ALARM_LOG).open("a", encoding="utf-8") as handle:
                handle.write(line)
        except OSError:
            return  # a full disk is among the alarms


def _post(address: str, content: str, message: str) -> None:
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        # A redirection could lead to a file or into the facility's own network.
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    # `text` is what chat programs' hooks show.
    body = json.dumps({**json.loads(content), "text": f"Icefloe: {message}"}).encode()
    request = urllib.request.Request(
        address, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.build_opener(NoRedirect).open(request, timeout=_TIMEOUT) as answer:
        answer.read(1)


def _start(command: str, content: str, message: str) -> None:
    done = subprocess.run(
        [*shlex.split(command), message],
        input=content.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_COMMAND_TIMEOUT,
        check=False,
    )
    if done.returncode:
        tail = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise RuntimeError(f"exit status {done.returncode} {tail}")
