"""The commands with which tests make and run sessions."""

from __future__ import annotations

from pathlib import Path

from icefloe.cli.main import main

SIZE, FRAMES, PIXEL = 512, 6, 1.5
FACTS = ["--pixel-size", str(PIXEL), "--dose-per-frame", "8", "--device", "cpu"]
CHOICES = ["--pick", "blob", "--diameter", "120", "--box", "96", "--set", "motion.patches=[1, 1]"]


def icefloe(*arguments: object) -> int:
    """Run a command in this process and return its exit status."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def run(project: Path, movies: Path, *more: object) -> int:
    gain = ["--gain", movies / "gain.mrc"]
    return icefloe(
        "run", f"{movies}/movie_*.tiff", "--project", project, *FACTS, *gain, *CHOICES, *more
    )
