"""What a worker finds where it runs: the questions of `icefloe cluster check`."""

from __future__ import annotations

import os
import platform
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["WorkerFacts", "probe"]


@dataclass(frozen=True)
class WorkerFacts:
    """One worker's answers.

    Attributes
    ----------
    host, pid
        Where it runs.
    python, icefloe, source
        Versions, and where this package was loaded from.
    cores, memory
        What it may use; GB.
    device
        What ``--device auto`` would be there.
    cards
        What ``CUDA_VISIBLE_DEVICES`` allows it.
    reads, writes
        Whether it found what the coordinator wrote, and could write beside it; the reason if not.
    clock
        Its time minus the file's time stamp that it found, s.
    """

    host: str
    pid: int
    python: str
    icefloe: str
    source: str
    cores: int
    memory: float
    device: str
    cards: str
    reads: str
    writes: str
    clock: float


def probe(directory: str, token: str, seconds: float = 0.2) -> WorkerFacts:
    """Look around; called in a worker.

    Parameters
    ----------
    directory
        A directory of the session, in which the coordinator wrote ``token``.
    token
        Name and content of that file.
    seconds
        Time to stay busy, so that the next probe goes to another worker.
    """
    import icefloe
    from icefloe.errors import IcefloeError
    from icefloe.fourier import resolve_device

    reads = writes = ""
    clock = 0.0
    file = Path(directory) / token
    try:
        if file.read_text(encoding="utf-8") != token:
            reads = f"{file} has another content there"
        clock = time.time() - file.stat().st_mtime
    except OSError as error:
        reads = f"{file} is not there ({error.strerror or error})"
    answer = Path(directory) / f"{token}-{socket.gethostname()}-{os.getpid()}"
    try:
        answer.write_text(token, encoding="utf-8")
    except OSError as error:
        writes = f"{answer} cannot be written ({error.strerror or error})"
    try:
        device = resolve_device("auto")
    except IcefloeError as error:
        device = f"none: {error}"
    time.sleep(seconds)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return WorkerFacts(
        host=socket.gethostname(),
        pid=os.getpid(),
        python=platform.python_version(),
        icefloe=icefloe.__version__,
        source=str(Path(icefloe.__file__).parent),
        cores=cores or 1,
        memory=_memory(),
        device=device,
        cards=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        reads=reads,
        writes=writes,
        clock=clock,
    )


def _memory() -> float:
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return 0.0
