"""Stages for workers in tests: what happens is written in the exposure's file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from icefloe.engine import Outcome, Output, Session, Work
from icefloe.errors import DiskFullError, FitError
from icefloe.formats.atomic import write_text


def movie(directory: Path, name: str, word: str) -> None:
    """Write a tiny micrograph whose first label is `word`, as a camera does: first under way."""
    with mrcfile.new(directory / f"{name}.part", np.zeros((8, 8), np.float32)) as file:
        file.header.label[0] = word
        file.header.nlabl = 1
    (directory / f"{name}.part").rename(directory / f"{name}.mrc")


class _Fake:
    version = 1

    def __init__(self, name: str, needs: tuple[str, ...]) -> None:
        self.name, self.needs = name, needs

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return self.needs

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {"voltage": session.settings.data.voltage}

    def prefetch(self, work: Work) -> None:
        if self.name == "import":
            work.numbers["import"] = {"kind": "micrograph"}

    def run(self, work: Work) -> Outcome:
        word = _word(work.source)
        if self.name == "import":
            return Outcome({"kind": "micrograph", "text": word})
        if self.name == "ctf":
            _misbehave(work, word)
        text = f"{work.name} {self.name} {word}"
        path = f"micrographs/{work.name}_{self.name}.txt"
        output = Output("text", path, lambda target: write_text(target, text))
        return Outcome({"text": text, "pid": os.getpid(), "n_picks": 7}, (output,))


def _word(source: Path) -> str:
    """Return the word that a test wrote into the file: all of it, or an MRC file's first label."""
    content = source.read_bytes()
    if len(content) < 1024:
        return content.decode().strip()
    return content[224:304].split(b"\0")[0].decode().strip()


def _misbehave(work: Work, word: str) -> None:
    source = work.source
    if word == "fails":
        raise FitError("Nothing fits")
    if word == "full":
        raise DiskFullError("The disk is full")
    if word == "full once":
        mark = source.with_suffix(".filled")
        if not mark.exists():
            mark.touch()
            raise DiskFullError("The disk is full")
    if word == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hangs":
        time.sleep(60)
    if word == "slow":
        time.sleep(0.5)
    if word == "unlucky":  # dies twice, and then unless all others are done
        log = source.with_suffix(".log")
        before = log.read_text().split() if log.exists() else []
        others = len(list(source.parent.glob("*.mrc"))) - 1
        waits = len(list(work.session.project.micrographs.glob("*_extract.txt"))) < others
        dies = len(before) < 2 or waits
        log.write_text(" ".join([*before, "dies" if dies else "lives"]))
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
    if word == "once":  # dies in its first worker only
        mark = source.with_suffix(".died")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


STAGES = (
    _Fake("import", ()),
    _Fake("ctf", ("import",)),
    _Fake("look", ("import",)),
    _Fake("pick", ("ctf",)),
    _Fake("extract", ("pick",)),
)


class _Picks(_Fake):
    """As a picker that waits for the session's reference."""

    def awaits_reference(self, session: Session) -> bool:
        return session.uses_reference() and session.reference() is None

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return None if session.stages_off() else self.needs


class _Extracts(_Fake):
    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return None if session.stages_off() else self.needs


WITH_REFERENCE = (*STAGES[:3], _Picks("pick", ("ctf",)), _Extracts("extract", ("pick",)))
