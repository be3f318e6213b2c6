"""Keeps a page's keys for the next start of its server, so that open pages find it again.

They lie in the user's own directory, never in the session, which others may read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from icefloe.project import Project
from icefloe.web.security import Tokens

__all__ = ["KEPT", "keys_path", "session_tokens"]

KEPT = 24 * 3600.0  # seconds for which keys are used again
_LENGTH = 43  # characters of 32 random bytes


def keys_path(project: Project) -> Path:
    """Return where the keys of a session's page are kept."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(str(project.root).encode()).hexdigest()[:24]
    return base / "icefloe" / "pages" / f"{name}.json"


def session_tokens(project: Project, *, new: bool = False, now: float | None = None) -> Tokens:
    """Return the keys of a session's page: those of the last start if it is not long ago.

    Parameters
    ----------
    project
        The session.
    new
        Make new ones in any case; pages that are open must be opened again.
    now
        The time, seconds; the clock's if left out.
    """
    now = time.time() if now is None else now
    path = keys_path(project)
    tokens = None if new else _read(path, now)
    if tokens is None:
        tokens = Tokens()
        # Without a place to keep them the page works all the same, until it is started again.
        with suppress(OSError):
            _write(path, tokens, now)
    return tokens


def _read(path: Path, now: float) -> Tokens | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        # Whoever else could have read or written them would hold the keys.
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return None
        try:
            content = json.loads(file.read(4096))
            owner, guest = content["owner"], content["guest"]
            made = float(content["made"])
        except (ValueError, KeyError, TypeError):
            return None
    good = all(isinstance(key, str) and len(key) == _LENGTH for key in (owner, guest))
    if not good or owner == guest or not 0 <= now - made < KEPT:
        return None
    return Tokens(owner, guest)


def _write(path: Path, tokens: Tokens, now: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump({"owner": tokens.owner, "guest": tokens.guest, "made": now}, file)
    temporary.replace(path)
