"""`icefloe serve` in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PageServer:
    """A server that can be stopped and started again.

    Attributes
    ----------
    owner, guest
        The addresses that it printed.
    """

    def __init__(self, project: Path, state: Path, port: int = 0) -> None:
        self._project, self._state, self._port = project, state, port
        self.owner = self.guest = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait for its addresses; the same port after the first time."""
        command = [sys.executable, "-u", "-m", "icefloe", "serve"]
        command += ["--project", str(self._project), "--port", str(self._port)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(self._state)},
        )
        assert self._process.stdout is not None
        found: list[str] = []
        for line in self._process.stdout:
            found += re.findall(r"http://\S+", line)
            if len(found) == 2:
                break
        assert len(found) == 2, "icefloe serve printed no addresses"
        self.owner, self.guest = found
        self._port = int(found[0].rsplit(":", 1)[1].split("/")[0])

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it."""
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def page_server(project: Path) -> Iterator[PageServer]:
    """Give a server of a session's page."""
    with tempfile.TemporaryDirectory(prefix="icefloe-state-") as state:
        server = PageServer(project, Path(state))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def served(project: Path) -> Iterator[tuple[str, str]]:
    """Give the owner's and the guest's address."""
    with page_server(project) as server:
        yield server.owner, server.guest
