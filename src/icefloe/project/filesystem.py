"""What the file system says of a path: its kind, and when it was changed."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["file_system", "is_network", "time_of"]

_NETWORK = re.compile(
    r"nfs|cifs|smb|9p|afs|ncp|ceph|lustre|gpfs|beegfs|glusterfs|pvfs|orangefs|panfs|wekafs"
    r"|virtiofs|fuse\.(sshfs|ceph|gluster|s3fs|rclone|quobyte|moosefs|mfs)"
)
_MOUNTS = Path("/proc/self/mountinfo")


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that holds `path`, such as ``ext4``; "" if unknown.

    Parameters
    ----------
    path
        An existing path.
    mounts
        The kernel's table of mounts (Linux; see proc(5)).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    target, best, found = path.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        # Of several mounts on one point the last counts.
        if target.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), after.split()[0]
    return found


def is_network(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether `path` is on a file system that several machines may share."""
    return bool(_NETWORK.match(file_system(path, mounts)))


def time_of(path: Path) -> int:
    """Return when a file was changed, ns since 1970; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
