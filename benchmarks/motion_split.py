"""Where the time of `icefloe motion` goes: start, read, align, integrate, write.

    python benchmarks/motion.py --split [--size full|medium|small] [--device cuda:0] [--movies N]

The command runs in a process of its own, on N copies of one movie. The first movie pays for what
is done once (the first use of compiled loops, on a card its start and plans); the mean of the rest
is what a session costs. While a movie is computed the next one is read, so that the parts add
up to more than the wall time of a movie where N > 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from motion_programs import Programs, simulate, write_movie

STEPS = ("read", "prepare", "align", "integrate", "picture", "write")
# Steps of `correct_motion`; any that is not listed is preparation.
_ALIGN, _INTEGRATE = ("align", "whole frame", "field"), ("sum", "integrate")


def run(size: dict[str, Any], work: Path, programs: Programs, movies: int) -> str:
    """Simulate a movie and return the table of the split."""
    shape, n = size["shape"], size["n_frames"]
    movie = simulate(
        "split", shape=shape, n_frames=n, dose_per_frame=programs.dose,
        pixel_size=programs.pixel_size,
    )  # fmt: skip
    write_movie(work, movie.frames, movie.gain, programs.pixel_size)
    del movie
    # Loops are compiled once after installation, which is not what is measured.
    programs.start(work)
    names = ["movie.tiff"]
    for i in range(1, movies):
        name = f"movie{i}.tiff"
        (work / name).unlink(missing_ok=True)
        (work / name).hardlink_to(work / "movie.tiff")
        names.append(name)
    answer = work / "split.json"
    command = [sys.executable, __file__, str(answer), *programs.arguments(names, "split")]
    begin = time.time()
    subprocess.run(command, cwd=work, check=True, stderr=subprocess.DEVNULL)
    wall = time.time() - begin
    found = json.loads(answer.read_text())
    return table(found, begin, wall, f"{shape[1]} x {shape[0]} x {n}, {found['device']}")


def table(found: dict[str, Any], begin: float, wall: float, title: str) -> str:
    """Return the split as text: the first movie, and the mean of the rest."""
    first, rest = found["movies"][0], found["movies"][1:]
    columns = {"first": first}
    if rest:
        columns["later"] = {s: sum(m[s] for m in rest) / len(rest) for s in STEPS}
    lines = [f"{title}, seconds", f"{'':14}" + "".join(f"{name:>9}" for name in columns)]
    start = found["ready"] - begin
    lines.append(f"{'start':14}{start:9.2f}" + (f"{0:9.2f}" if rest else ""))
    lines += [f"{s:14}" + "".join(f"{c[s]:9.2f}" for c in columns.values()) for s in STEPS]
    totals = [start + sum(first[s] for s in STEPS)]
    if rest:
        totals.append(sum(columns["later"][s] for s in STEPS))
    lines.append(f"{'sum':14}" + "".join(f"{t:9.2f}" for t in totals))
    n = len(found["movies"])
    lines.append(f"wall time of the process {wall:.2f}" + (f", {wall / n:.2f} a movie" * (n > 1)))
    detail = ", ".join(f"{k} {v:.2f}" for k, v in found["movies"][-1]["steps"].items())
    lines.append(f"steps of correct_motion, last movie: {detail}")
    return "\n".join(lines)


class _Watch:
    """Measures the parts of the command from outside, by wrapping what it calls."""

    def __init__(self) -> None:
        self.read: list[float] = []
        self.movies: list[dict[str, Any]] = []
        self.inner: dict[str, float] = {}
        self.steps: dict[str, float] = {}

    def timed(self, function: Any, key: str) -> Any:
        """Return the function, adding its seconds to `inner[key]`."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            self.inner[key] = self.inner.get(key, 0.0) + time.perf_counter() - begin
            if key == "correct":
                self.steps = dict(result.timings)
            return result

        return wrapped

    def reading(self, function: Any) -> Any:
        """Return the method that reads a movie, noting its seconds."""

        def wrapped(*args: Any) -> Any:
            begin = time.perf_counter()
            movie = function(*args)
            self.read.append(time.perf_counter() - begin)
            return movie

        return wrapped

    def processing(self, function: Any) -> Any:
        """Return the method that corrects and writes a movie, noting its parts."""

        def wrapped(*args: Any) -> Any:
            self.inner, self.steps = {}, {}
            begin = time.perf_counter()
            result = function(*args)
            total = time.perf_counter() - begin
            align = sum(v for k, v in self.steps.items() if k in _ALIGN)
            integrate = sum(v for k, v in self.steps.items() if k in _INTEGRATE)
            correct, picture = self.inner["correct"], self.inner.get("picture", 0.0)
            self.movies.append(
                {
                    "read": self.read[len(self.movies)],
                    "prepare": correct - align - integrate,
                    "align": align,
                    "integrate": integrate,
                    "picture": picture,
                    "write": total - correct - picture,
                    "steps": self.steps,
                }
            )
            return result

        return wrapped


def _child(answer: str, arguments: list[str]) -> None:
    import icefloe.cli.motion_pictures as pictures
    import icefloe.motion as motion
    from icefloe.cli.main import main
    from icefloe.cli.motion_job import MotionJob
    from icefloe.fourier import resolve_device

    watch = _Watch()
    motion.correct_motion = watch.timed(motion.correct_motion, "correct")
    pictures.motion_picture = watch.timed(pictures.motion_picture, "picture")
    MotionJob.read = watch.reading(MotionJob.read)  # type: ignore[method-assign]
    MotionJob.process = watch.processing(MotionJob.process)  # type: ignore[method-assign]
    ready = time.time()
    sys.argv = ["icefloe", *arguments]
    try:
        main()
    finally:
        device = resolve_device(arguments[arguments.index("--device") + 1])
        if device.startswith("cuda"):
            import torch

            device = f"{device} ({torch.cuda.get_device_name(device)})"
        result = {"ready": ready, "movies": watch.movies, "device": device}
        Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2:])
