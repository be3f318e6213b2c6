"""Checks the gain's orientation on the first movies that a run reads, and says so once.

The check only looks: no result, fingerprint or sidecar depends on it. What it found is kept in
`gain_check.json` in the session, so that the next run does not look again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.engine.arrays import FRAMES, frames_of, import_numbers
from icefloe.formats.atomic import write_text

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Work

__all__ = ["GainCheck", "GainChecks", "check_gains", "read_gain_warnings"]

_FILE = "gain_check.json"
_MOVIES = 5
# Higher than what `gain orient` asks for: a warning that is wrong costs more than one that is
# missing, and there are up to five looks.
_SURE = 6.0
# A fixed pattern weaker than this may be what a good correction left.
_PATTERN = 0.015
_SIDE = 2048


@dataclass
class GainChecks:
    """The checks of all gains of a session: groups of movies may have their own.

    Attributes
    ----------
    session
        The session.
    """

    session: Session
    _checks: dict[str, GainCheck] = field(default_factory=dict)

    def add(self, work: Work) -> None:
        """Look at a movie whose frames were read; called in the reading thread."""
        file = _file(work.session)
        if file not in self._checks:
            self._checks[file] = GainCheck.start(work.session)
        self._checks[file].add(work)

    def settled(self, session: Session) -> bool:
        """Return whether the gain that holds for an exposure was judged already."""
        file = _file(session)
        if file not in self._checks:
            self._checks[file] = GainCheck.start(session)
        return self._checks[file].verdict is not None

    def news(self) -> list[str]:
        """Record what is new, and return its warnings; called by the run's own thread."""
        found = [check.news() for check in list(self._checks.values())]
        return [message for message in found if message is not None]


@dataclass
class GainCheck:
    """Adds up the first movies of a session, and compares them with its gain.

    Attributes
    ----------
    session
        The session.
    verdict
        None until it is certain or five movies were seen: ``right``, ``wrong``, ``absent``,
        ``unclear``; without a gain ``pattern`` or ``none``.
    message
        The warning, if there is reason for one.
    """

    session: Session
    verdict: str | None = None
    message: str | None = None
    _movies: list[str] = field(default_factory=list)
    # Odd and even movies: what they have in common is the detector's.
    _sums: list[FloatArray] = field(default_factory=list)
    _told: bool = False
    _resized: str | None = None

    @classmethod
    def start(cls, session: Session) -> GainCheck:
        """Return the check of a session; it is over if an earlier run made it with this gain."""
        check = cls(session)
        known = _read(session.project.root / _file(session))
        if known.get("verdict") and known.get("of") == check._of():
            check.verdict, check._told = str(known["verdict"]), True
        return check

    def add(self, work: Work) -> None:
        """Look at a movie whose frames were read; called in the reading thread."""
        frames: list[AnyArray] | None = work.held(FRAMES)
        if self.verdict is not None or not frames:
            return
        eer = work.numbers["import"]["format"] == "eer"
        gain = self.session.gain(for_eer=eer)
        shape = (int(frames[0].shape[0]), int(frames[0].shape[1]))
        window = _window(shape)
        if self._sums and self._sums[0].shape != frames[0][window].shape:
            return  # another camera or mode: the first one's movies are what is checked
        total = np.zeros(frames[0][window].shape)
        for frame in frames:
            total += frame[window]
        if not total.any():
            return
        self._movies.append(work.name)
        if len(self._sums) < 2:
            self._sums.append(total)
        else:
            self._sums[(len(self._movies) - 1) % 2] += total
        if gain is not None:
            self._compare(gain, shape)
        elif len(self._sums) == 2:
            self._look_for_pattern()
        if self.verdict is None and len(self._movies) == _MOVIES:
            self._conclude("unclear" if gain is not None else "none")

    def news(self) -> str | None:
        """Record a verdict that is new, and return its warning; called by the run's own thread."""
        if self._told or self.verdict is None:
            return None
        self._told = True
        content = {
            "schema": 1,
            "of": self._of(),
            "movies": self._movies,
            "verdict": self.verdict,
            "warning": self.message,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_text(self.session.project.root / _file(self.session), text)
        return self.message

    def _of(self) -> dict[str, Any]:
        facts = self.session.facts()
        keys = ("gain", "gain_rotate", "gain_flip")
        return {**{k: facts[k] for k in keys}, "file": self.session.identity(facts["gain"])}

    def _compare(self, oriented: FloatArray, shape: tuple[int, int]) -> None:
        from icefloe.formats.gain import fit_gain
        from icefloe.motion.orientation import GainUse, compare_gain_uses, turned_back

        data = self.session.settings.data
        # Middles stay middles when they are turned, so both may be cut first.
        whole, resized = fit_gain(oriented, shape)
        if resized is not None:
            # Whether its size was meant for these movies is for a person to say; a gain whose
            # pattern the movies show needs no question.
            self._resized = f"{resized}, to fit the movies: is it the gain of this mode?"
        fitted = whole[_window(shape)]
        result = compare_gain_uses(
            np.asarray(sum(self._sums)), turned_back(fitted, data.gain_rotate, data.gain_flip)
        )
        given, best = GainUse.make(data.gain_rotate, data.gain_flip), result.best
        sigma = result.margin(best, given) if best != given else 0.0
        if result.verdict == "flat":
            self._conclude("unclear")
        elif result.verdict == "absent":
            self._conclude(
                "absent",
                "the movies do not show the gain's pattern of pixels "
                f"({result.amplitude:.2f} of it at best): they are corrected already, or the gain "
                "is another camera's, mode's or date's",
            )
        elif best == given and result.confidence >= _SURE:
            self._conclude("right")
        elif min(sigma, result.margin(best)) >= _SURE:
            invert = ", with the gain inverted (the file divides)" if best.divide else ""
            self._conclude(
                "wrong",
                f"the gain is not used as the movies show it: --gain-rotate {best.rotate} "
                f"--gain-flip {best.flip}{invert} is better by {sigma:.0f} sigma; "
                "'icefloe gain orient' shows all orientations",
            )

    def _look_for_pattern(self) -> None:
        from icefloe.motion.orientation import shared_pattern

        rms, sigma = shared_pattern(*self._sums)
        if sigma >= _SURE and rms >= _PATTERN:
            self._conclude(
                "pattern",
                f"the movies have a fixed pattern of {rms:.1%} RMS and no gain is set (--gain)",
            )

    def _conclude(self, verdict: str, message: str | None = None) -> None:
        # The verdict last: the run's own thread looks for it.
        self.message = self._resized if message is None and verdict == "unclear" else message
        self.verdict = verdict


def check_gains(project: str, exposures: Sequence[tuple[str, str]]) -> list[str]:
    """Check the gains on the first of these movies, and return the warnings.

    For a run whose movies are read by workers: one of them does this, too.

    Parameters
    ----------
    project
        The session's directory.
    exposures
        Name and recorded source of each.
    """
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Work

    session = Session.open(project)
    checks = GainChecks(session)
    for name, listed in exposures:
        work = Work(session.view(name, listed), name, session.project.locate(listed))
        if checks.settled(work.session):
            continue
        with suppress(Exception):  # a bad movie is its own exposure's failure
            numbers = import_numbers(work)
            if numbers["kind"] == "movie":
                work.numbers["import"] = numbers
                frames_of(work)
                checks.add(work)
    return checks.news()


def read_gain_warnings(session: Session) -> list[str]:
    """Return the warnings that the checks of the session's present gains left."""
    found = []
    for one in session.with_groups():
        known = _read(session.project.root / _file(one))
        if known.get("warning") and known.get("of") == GainCheck(one)._of():
            found.append(str(known["warning"]))
    return list(dict.fromkeys(found))


def _file(session: Session) -> str:
    """Return where the check of a gain is kept: a gain of a group's own has its name."""
    gain = session.settings.data.gain
    if gain is None or gain == session.shared_gain:
        return _FILE
    return f"gain_check_{Path(gain).stem}.json"


def _window(shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the middle of a frame, enough of it and the same from both sides."""
    rows, columns = (max(0, (n - _SIDE) // 2) for n in shape)
    return slice(rows, shape[0] - rows), slice(columns, shape[1] - columns)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
