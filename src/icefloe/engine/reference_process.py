"""A process that makes a session's reference beside the run: ``python -m`` this module.

The run goes on with exposures meanwhile, and can end it at any time. A job comes on stdin, and what
is being done goes to stdout, a line of JSON each; the result is written into the session.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from icefloe.engine.guard import end_with_parent
from icefloe.errors import IcefloeError

if TYPE_CHECKING:
    from icefloe.engine.reference_making import Due
    from icefloe.engine.session import Session

__all__ = ["ReferenceProcess", "main"]


class ReferenceProcess:
    """A process that makes a reference; it ends with this one.

    Parameters
    ----------
    session
        The session, locked by this process.
    due
        What the reference is to be made from.
    threads
        How many it may use: no more than a worker, with all of which it shares the cores.
    tell
        Is told what is being done, from another thread.
    """

    def __init__(
        self, session: Session, due: Due, threads: int, tell: Callable[[str], None]
    ) -> None:
        self.due = due
        job = {
            "project": str(session.project.root),
            # Not from the file, which may be edited during a run.
            "settings": session.settings.model_dump(mode="json"),
            "device": session.device,
            "threads": threads,
            "names": due.names,
            "complete": due.complete,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            json.dump(job, stdin)
        said = self._process.stdout
        threading.Thread(target=_listen, args=(said, tell), daemon=True).start()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def succeeded(self) -> bool:
        """Whether the reference was written; asked when it has ended."""
        return self._process.returncode == 0

    def end(self) -> None:
        """End it, whatever it is doing: half a reference is none."""
        self._process.kill()
        self._process.wait()


def _listen(said: IO[str], tell: Callable[[str], None]) -> None:
    with said:
        for line in said:
            with suppress(ValueError):  # what a library prints
                what = json.loads(line)
                if isinstance(what, str):
                    tell(what)


def main() -> None:
    """Make the reference that the job on stdin asks for."""
    end_with_parent()
    # A terminal sends Ctrl-C to all processes; the run decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job: dict[str, Any] = json.load(sys.stdin)
    from icefloe.engine.reference_making import Due, write_made
    from icefloe.engine.session import Session
    from icefloe.engine.settings import SessionSettings
    from icefloe.fourier import set_threads
    from icefloe.project import Project

    set_threads(job["threads"])
    settings = SessionSettings.model_validate(job["settings"])
    session = Session(Project.open(job["project"]), settings, job["device"])

    def tell(what: str) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    try:
        write_made(session, Due(tuple(job["names"]), job["complete"]), tell)
    except IcefloeError:
        sys.exit(1)  # the run meets it again, and says it


if __name__ == "__main__":
    main()
