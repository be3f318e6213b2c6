"""`icefloe run` with stages that only write text, and take their time.

    python slow_session.py SECONDS run FILES --project DIR [--workers N]

Each stage writes two files and takes SECONDS, so that the run can be disturbed at any moment.
Workers import this file, too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icefloe.cli.main import main
from icefloe.engine import Outcome, Output, Session, Work, worker
from icefloe.engine import stages as standard
from icefloe.formats.atomic import write_text

_SECONDS = "ICEFLOE_TEST_SECONDS"
NEEDS: dict[str, tuple[str, ...]] = {
    "import": (),
    "motion": ("import",),
    "ctf": ("motion",),
    "look": ("motion",),
    "pick": ("motion",),
    "extract": ("pick",),
}


class Slow:
    """A stage whose result is text that names all that it came from."""

    version = 1

    def __init__(self, name: str) -> None:
        self.name = name

    def upstream(self, session: Session, kind: str) -> tuple[str, ...]:
        return NEEDS[self.name]

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {"voltage": session.settings.data.voltage}

    def prefetch(self, work: Work) -> None:
        if self.name == "import":
            work.numbers["import"] = {"kind": work.once("text", work.source.read_text).split()[0]}

    def run(self, work: Work) -> Outcome:
        time.sleep(float(os.environ[_SECONDS]))
        text = work.once("text", work.source.read_text)
        made = f"{self.name}({text if self.name == 'import' else self._before(work)})\n" * 50
        outputs = tuple(
            Output(role, f"micrographs/{work.name}_{self.name}_{role}.txt", _writer(made))
            for role in ("one", "two")
        )
        return Outcome({"kind": "movie", "text": made[:100], "n_picks": 1}, outputs)

    def _before(self, work: Work) -> str:
        return ",".join(str(work.numbers[name]["text"]) for name in NEEDS[self.name])


def _writer(text: str):
    return lambda path: write_text(path, text)


STAGES = tuple(Slow(name) for name in NEEDS)


if __name__ == "__main__":
    os.environ[_SECONDS] = sys.argv[1]
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    standard.STANDARD_STAGES = STAGES
    worker.DEFAULT_STAGES = f"{Path(__file__).stem}:STAGES"
    sys.exit(main(sys.argv[2:]))
