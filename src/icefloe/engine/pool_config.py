"""What Parsl is told of the workers: on this machine, or in a file of the user's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from icefloe.engine.guard import guarded
from icefloe.errors import InputError, SettingsError

if TYPE_CHECKING:
    from parsl.config import Config

__all__ = ["RESTARTS", "local_config", "read_config", "worker_count"]

# So many managers of local workers may die one after the other, and so many interchanges.
RESTARTS = 5
_PARSLS = "process_worker_pool.py"


def worker_count(config: Config) -> int:
    """Return how many workers a configuration may come to have; 0 if it does not say."""
    total = 0
    for executor in config.executors:
        workers = getattr(executor, "max_workers_per_node", None)
        provider = getattr(executor, "provider", None)
        if workers is None or workers == float("inf") or provider is None:
            return 0
        nodes = getattr(provider, "nodes_per_block", 1) * getattr(provider, "max_blocks", 1)
        total += int(workers) * int(nodes)
    return total


def local_config(workers: int, run_directory: Path, *, accelerators: Sequence[str] = ()) -> Config:
    """Return a configuration for workers on this machine.

    Parameters
    ----------
    workers
        How many; with accelerators, one for each of these.
    run_directory
        For Parsl's own files.
    accelerators
        Numbers of the cards, one worker each: a worker sees only its own.
    """
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
    from parsl.jobs.error_handlers import windowed_error_handler
    from parsl.providers import LocalProvider

    if workers < 1:
        raise SettingsError(f"--workers is {workers}", "1 or more")
    manager = guarded("icefloe.engine.manager")
    executor = HighThroughputExecutor(
        label="icefloe",
        address="127.0.0.1",
        max_workers_per_node=len(accelerators) or workers,
        cores_per_worker=1e-3,  # how many there are was decided by the user
        available_accelerators=list(accelerators),
        # Only this machine talks to them, over its own loopback.
        encrypted=False,
        # A worker that died is noticed after so long.
        heartbeat_period=2,
        heartbeat_threshold=20,
        interchange_launch_cmd=guarded("parsl.executors.high_throughput.interchange"),
        launch_cmd=DEFAULT_LAUNCH_CMD.replace(_PARSLS, shlex.join(manager), 1),
        # One that died is replaced; where they die again and again, something is wrong.
        block_error_handler=partial(windowed_error_handler, threshold=RESTARTS),
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    return Config(
        executors=[executor],
        run_dir=str(run_directory),
        strategy="simple",  # also starts managers in the place of those that died
        # Its first step starts the workers.
        strategy_period=0.5,
        initialize_logging=False,
        usage_tracking=0,
    )


def read_config(path: Path) -> Config:
    """Return the ``config`` that a Python file defines, as Parsl's own documentation has it.

    Its managers of workers are replaced by `icefloe.engine.manager`, unless it starts them by a
    program of its own.

    Raises
    ------
    InputError
        The file does not run, or defines no configuration.
    """
    import runpy

    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    try:
        content = runpy.run_path(str(path))
    except Exception as error:
        raise InputError(
            f"{path} cannot be run ({type(error).__name__}: {error})",
            "a Python file that defines a parsl.config.Config named 'config'",
            "'icefloe cluster template slurm' prints one to start from",
        ) from error
    config = content.get("config")
    if not isinstance(config, Config):
        raise InputError(
            f"{path} defines no 'config'",
            "a parsl.config.Config of that name",
            "'icefloe cluster template slurm' prints one to start from",
        )
    for executor in config.executors:
        if isinstance(executor, HighThroughputExecutor):
            executor.launch_cmd = _our_manager(executor.launch_cmd)
    return config


def _our_manager(command: str) -> str:
    """Return a manager's launch command with ours in the place of Parsl's own program.

    Both lie in the same directory of the nodes' environment; a command that names another program,
    which may start Parsl's, stays as it is.
    """
    return re.sub(rf"\b{re.escape(_PARSLS)}(?=\s|$)", "icefloe cluster manager", command)
