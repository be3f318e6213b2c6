"""Which runs worked on a session: version, settings and machine of each, by the id in sidecars.

``runs.jsonl`` has a line when a run begins to work and one when it ends; a run without the second
was killed. The settings of each are kept whole in ``settings/HASH.toml``, once for each content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import socket
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from icefloe.formats.atomic import output_directory, write_text
from icefloe.formats.jsonl import append_lines, read_lines

if TYPE_CHECKING:
    from icefloe.project.layout import Project

__all__ = [
    "RunRecord",
    "begin_run",
    "describe_machine",
    "end_run",
    "read_runs",
    "read_settings_of",
    "runs_path",
    "save_settings",
    "settings_hash",
    "settings_path",
]

_LIBRARIES = ("numpy", "scipy", "numba", "torch")
_SETTINGS_SCHEMA = 2


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes
    ----------
    id
        What sidecars name it by.
    time
        When it began to work, UTC, ISO 8601; the order is that of the lines, since clocks err.
    version
        Version of Icefloe.
    settings
        Name of the settings it used, see `settings_path`.
    stages
        Version of each stage's code.
    inputs
        Size and time of the files that all exposures share, such as the gain, or all of a group.
    machine
        See `describe_machine`.
    command
        The command line.
    ended
        When it ended; empty if it was killed, or still works.
    outcome
        ``finished``, ``stopped by`` a signal's name (``stopped`` where another program asked),
        ``ended by`` an error's name, or empty.
    ran, failed
        Exposures it worked on, and those of them that failed; 0 while unknown.
    """

    id: str
    time: str = ""
    version: str = ""
    settings: str = ""
    stages: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    ended: str = ""
    outcome: str = ""
    ran: int = 0
    failed: int = 0


def runs_path(project: Project) -> Path:
    """Return the journal of runs."""
    return project.root / "runs.jsonl"


def settings_path(project: Project, name: str) -> Path:
    """Return where the settings with this hash are kept."""
    return project.root / "settings" / f"{name}.toml"


def begin_run(
    project: Project,
    settings: Mapping[str, Any],
    *,
    version: str,
    stages: Mapping[str, int],
    inputs: Mapping[str, Any],
    machine: Mapping[str, Any],
    command: tuple[str, ...] = tuple(sys.argv),
) -> str:
    """Record that a run begins to work; return its id.

    Parameters
    ----------
    project
        The session.
    settings
        All settings, JSON-able, a dictionary a section.
    version, stages, inputs, machine, command
        See `RunRecord`.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    # The random part keeps ids apart where clocks stand still or jump.
    now = datetime.now(UTC)
    run = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    line = {
        "run": run,
        "event": "begin",
        "time": now.isoformat(timespec="seconds"),
        "version": version,
        "settings": save_settings(project, settings),
        "stages": dict(stages),
        "inputs": dict(inputs),
        "machine": dict(machine),
        "command": list(command),
    }
    append_lines(runs_path(project), [line])
    return run


def end_run(project: Project, run: str, outcome: str, *, ran: int, failed: int) -> None:
    """Record how a run ended.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    line = {
        "run": run,
        "event": "end",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "outcome": outcome,
        "ran": ran,
        "failed": failed,
    }
    append_lines(runs_path(project), [line])


def read_runs(project: Project) -> tuple[dict[str, RunRecord], int]:
    """Return the runs by id, in the order in which they began, and the number of bad lines."""
    lines, broken = read_lines(runs_path(project))
    runs: dict[str, RunRecord] = {}
    for line in lines:
        try:
            run = str(line["run"])
            if line["event"] == "begin":
                runs[run] = RunRecord(
                    id=run,
                    time=str(line["time"]),
                    version=str(line["version"]),
                    settings=str(line["settings"]),
                    stages=dict(line["stages"]),
                    inputs=dict(line["inputs"]),
                    machine=dict(line["machine"]),
                    command=tuple(map(str, line["command"])),
                )
            else:
                begun = runs.get(run, RunRecord(run)).__dict__
                end = {"ended": str(line["time"]), "outcome": str(line["outcome"])}
                counts = {"ran": int(line["ran"]), "failed": int(line["failed"])}
                runs[run] = RunRecord(**(begun | end | counts))
        except (KeyError, TypeError, ValueError):
            broken += 1
    return runs, broken


def settings_hash(content: Mapping[str, Any]) -> str:
    """Return the name under which settings are kept."""
    text = json.dumps(_without_none(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_settings(project: Project, content: Mapping[str, Any]) -> str:
    """Keep settings, if they are not kept yet, and return their hash.

    The file can be copied over ``icefloe.toml`` to have these settings again.
    """
    name = settings_hash(content)
    path = settings_path(project, name)
    if read_settings_of(project, name) is None:
        output_directory(path.parent)
        document = _values_first({"schema": _SETTINGS_SCHEMA, **_without_none(content)})
        write_text(path, tomlkit.dumps(document))
    return name


def read_settings_of(project: Project, name: str) -> dict[str, Any] | None:
    """Return kept settings, ``""`` where one is not set; None if they are lost or changed."""
    try:
        text = settings_path(project, name).read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, ValueError):
        return None
    content.pop("schema", None)
    return content if settings_hash(content) == name else None


def _values_first(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with its values before its sub-tables: in TOML they would belong to these."""
    values = {k: v for k, v in content.items() if not isinstance(v, Mapping)}
    tables = {k: _values_first(v) for k, v in content.items() if isinstance(v, Mapping)}
    return values | tables


def _without_none(content: Any) -> Any:
    # TOML knows no null; the settings file writes "" too.
    if isinstance(content, Mapping):
        return {str(k): _without_none(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_without_none(v) for v in content]
    return "" if content is None else content


def describe_machine(device: str, device_name: str, threads: int) -> dict[str, Any]:
    """Return what of the machine may matter to a result or its speed.

    Parameters
    ----------
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.
    device_name
        The accelerator's name, else empty.
    threads
        Number of threads.
    """
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "device": device,
        **({"accelerator": device_name} if device_name else {}),
        "python": platform.python_version(),
        "libraries": libraries,
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
