"""Options of commands that may use several workers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from parsl.config import Config

    from icefloe.engine.pool import WorkerPool
    from icefloe.project import Project

__all__ = ["WorkerChoice", "worker_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class WorkerChoice:
    """Which workers the user asked for.

    Attributes
    ----------
    count
        Workers on this machine; 0 for none but this process.
    config
        A Python file with a Parsl configuration, in their place.
    limit
        Minutes that a worker may take for one exposure; 0: any.
    """

    count: int = 0
    config: Path | None = None
    limit: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether there are to be workers at all."""
        return bool(self.count) or self.config is not None

    def parsl_config(self, run_directory: Path, device: str) -> Config:
        """Return the configuration; Parsl must be installed.

        Raises
        ------
        DeviceError
            Parsl is not installed.
        """
        import importlib.util

        from icefloe.errors import DeviceError

        if importlib.util.find_spec("parsl") is None:
            raise DeviceError(
                "Workers need Parsl, which is not installed",
                hint="pip install 'icefloe[cluster]'",
            )
        from icefloe.engine.pool_config import local_config, read_config

        if self.config is not None:
            return read_config(self.config)
        return local_config(self.count, run_directory, accelerators=_cards(device))

    @contextmanager
    def pool(self, project: Project, *, device: str, threads: int) -> Iterator[WorkerPool | None]:
        """Start the workers for the time of the block; None if all is done in this process."""
        if not self.wanted:
            yield None
            return
        import os

        renew = functools.partial(self.parsl_config, project.root / "parsl", device)
        config = renew()
        from icefloe.engine.pool import WorkerPool
        from icefloe.engine.pool_config import worker_count

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        per_worker = threads or (0 if self.config else max(1, cores // worker_count(config)))
        with WorkerPool(
            config, device=device, threads=per_worker, limit=60 * self.limit, renew=renew
        ) as pool:
            yield pool


def worker_options(function: F) -> F:
    """Add --workers, --parsl and --time-limit; the command receives `workers`."""

    @functools.wraps(function)
    def wrapped(
        *args: Any, worker_count: int, parsl: Path | None, time_limit: float, **kwargs: Any
    ) -> Any:
        if worker_count and parsl is not None:
            raise click.UsageError("--workers and --parsl both say which workers; give one.")
        return function(*args, workers=WorkerChoice(worker_count, parsl, time_limit), **kwargs)

    decorated: Any = click.option(
        "--time-limit",
        type=click.FloatRange(0),
        default=0.0,
        show_default="none",
        help="Minutes after which a worker that is still at one exposure is ended.",
    )(wrapped)
    decorated = click.option(
        "--parsl",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        default=None,
        help="Workers of a cluster: a Python file with a Parsl 'config' "
        "(icefloe cluster template slurm).",
    )(decorated)
    with_workers: F = click.option(
        "--workers",
        "worker_count",
        type=click.IntRange(0),
        default=0,
        show_default="this process alone",
        help="Worker processes on this machine; with GPUs one a GPU.",
    )(decorated)
    return with_workers


def _cards(device: str) -> list[str]:
    """Return the numbers of the accelerators that workers are to share out."""
    from icefloe.fourier import resolve_device

    if not resolve_device(device).startswith("cuda"):
        return []
    if device.startswith("cuda:"):
        return [device.partition(":")[2]]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
