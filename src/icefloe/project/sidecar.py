"""What one stage recorded about one exposure: a small JSON file, written last.

A stage counts as done when its sidecar says so, the sidecar's fingerprint is the one that today's
input and settings give, and every file it names is there.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icefloe.errors import InputError
from icefloe.formats.atomic import write_bytes
from icefloe.project.checksum import WrittenFile

__all__ = [
    "FileIdentity",
    "Sidecar",
    "WrittenFile",
    "identify",
    "plain_json",
    "read_sidecar",
    "sidecar_is_intact",
    "write_sidecar",
]

SCHEMA = 1
# Between a sidecar's content and the checksum of that.
_SELF = b', "checksum": "'


@dataclass(frozen=True)
class FileIdentity:
    """What tells one version of an input file from another without reading it.

    Attributes
    ----------
    path
        As recorded: relative to the session if inside it, else absolute.
    size
        Bytes.
    mtime_ns
        Time of its last change, ns.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Sidecar:
    """What a stage recorded.

    Attributes
    ----------
    stage, status, exposure
        The stage, whether it is ``done`` or ``failed``, the exposure's name.
    settings_hash
        Hash of the settings and facts that the stage used.
    fingerprint
        Hash of all that its result depends on: input, settings, upstream, the stage's version.
    upstream
        Fingerprints of the stages whose results it used.
    input
        The file it began from; only for the stage ``import``.
    numbers
        Figures of the result.
    files
        Files it wrote, by role; paths relative to the session.
    flags
        Short remarks on what went wrong or was done instead.
    error
        ``type``, ``message`` and, for an unexpected one, ``traceback``; None when done.
    seconds
        Time it took.
    version
        Version of Icefloe.
    written
        By role, size and checksum of each file as it was written; empty in sidecars of versions
        that did not record it. See `icefloe.project.checksum`.
    run
        The run that made it, a line of ``runs.jsonl``; empty in sidecars of versions that did
        not record it.
    """

    stage: str
    status: Literal["done", "failed"]
    exposure: str
    settings_hash: str
    fingerprint: str
    upstream: Mapping[str, str] = field(default_factory=dict)
    input: FileIdentity | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    seconds: float = 0.0
    version: str = ""
    written: Mapping[str, WrittenFile] = field(default_factory=dict)
    run: str = ""


def identify(path: Path, listed: str) -> FileIdentity:
    """Return the identity of a file.

    Raises
    ------
    InputError
        There is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(
            f"There is no file {path} ({error.strerror or error})",
            hint="It was moved or its disk is not mounted; bring it back and run again",
        ) from error
    return FileIdentity(listed, status.st_size, status.st_mtime_ns)


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write a sidecar, whole or not at all."""
    content = {"schema": SCHEMA, **asdict(sidecar)}
    text = json.dumps(plain_json(content), allow_nan=False, ensure_ascii=False)
    body = text.removesuffix("}").encode()
    write_bytes(path, body + _SELF + f"crc32:{zlib.crc32(body):08x}".encode() + b'"}\n')


def sidecar_is_intact(path: Path) -> bool:
    """Return whether a sidecar's text is as it was written; true where none has been recorded."""
    try:
        body, found, tail = path.read_bytes().rpartition(_SELF)
    except OSError:
        return False
    return not found or tail.startswith(f'crc32:{zlib.crc32(body):08x}"'.encode())


def read_sidecar(path: Path) -> Sidecar | None:
    """Return a sidecar, or None if there is none that can be read: the stage runs again then."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            return None
        known = {f.name for f in fields(Sidecar)}
        values = {k: v for k, v in content.items() if k in known}
        if values["status"] not in ("done", "failed"):
            return None
        if values.get("input") is not None:
            values["input"] = FileIdentity(**values["input"])
        values["flags"] = tuple(values.get("flags") or ())
        written = values.get("written") or {}
        values["written"] = {role: WrittenFile(**entry) for role, entry in written.items()}
        sidecar = Sidecar(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = all(isinstance(m, dict) for m in (sidecar.numbers, sidecar.files, sidecar.upstream))
    return sidecar if whole else None


def plain_json(value: Any) -> Any:
    """Return `value` in JSON's own types: arrays become lists, what is not finite None."""
    if isinstance(value, Mapping):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_json(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
