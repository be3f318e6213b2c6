"""Measures the page with a large session: how long it takes to load, and from a brush to redraw.

    python benchmarks/page.py [--exposures 50000] [--headless-pictures DIR]

The exposures are synthetic records with sixty numbers each in the memory of the server, so that
what is measured is the server's packing, the transfer and the page in a headless Chromium without a
GPU; reading sidecars and the index is measured by benchmarks/index.py. A brush is dragged across a
histogram, a series, the scatter plot and the map, each in many steps; the page takes the time of
each step: its own work (selection, counts, all plots in view), and the time until the first
task after the browser has drawn the frame, which depends on the GPU and on what else runs.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def make_records(root: Path, count: int) -> list:
    """Return exposures with plausible numbers: clusters, drifts in time, some not measured."""
    from icefloe.project import ExposureRecord

    rng = np.random.default_rng(1)
    t = np.arange(count) / count
    defocus = 8000 + 14000 * rng.random(count) + 1500 * np.sin(40 * t)
    resolution = 3.2 + rng.gamma(1.5, 0.5, count) + (rng.random(count) < 0.03) * 6
    motion = rng.gamma(4, 3, count)
    look = rng.normal(size=(count, 25))
    status = dict.fromkeys(("import", "motion", "ctf", "look", "pick"), "done")
    records = []
    for i in range(count):
        numbers = {
            "motion": {"motion_total": motion[i], "motion_early": 0.4 * motion[i]}
            | {f"figure_{k}": look[i, k] for k in range(12)},
            "ctf": {"defocus_u": defocus[i] + 80, "defocus_v": defocus[i] - 80}
            | {"fit_resolution": resolution[i], "astigmatism": 160.0 + 40 * look[i, 0]}
            | {"iciness": abs(look[i, 1]) / 10, "figure_of_merit": 0.2, "phase_shift": 0.0},
            "look": {f"number_{k}": look[i, k] for k in range(25)},
            "pick": {f"figure_{k}": look[i, k] for k in range(8)}
            | {"n_picks": float(rng.integers(0, 400)), "median_score": 6 + look[i, 2]},
        }
        name = f"movie_{i:05d}"
        flags = dict.fromkeys(status, ())
        records.append(ExposureRecord(name, root / name, "movie", status, numbers, flags=flags))
    return records


def start_server(count: int) -> str:
    """Serve the synthetic session from a thread, and return the page's address."""
    import uvicorn

    from icefloe.curation import DEFAULT_RULES, evaluate
    from icefloe.project import Project
    from icefloe.web.app import create_app
    from icefloe.web.security import Tokens
    from icefloe.web.watch import Watch

    root = Path(tempfile.mkdtemp(prefix="icefloe-page-"))
    project = Project.create(root)
    project.settings_file.write_text("schema = 1\n")
    records = make_records(root, count)
    start = time.perf_counter()
    curation = evaluate(records, DEFAULT_RULES)
    print(f"verdicts of {len(DEFAULT_RULES)} rules: {time.perf_counter() - start:.2f} s")

    class Still(Watch):
        def poll(self) -> bool:
            return False

    watch = Still(project)
    start = time.perf_counter()
    verdicts = {name: (v.state, v.by) for name, v in curation.verdicts.items()}
    for i, record in enumerate(records):  # nine holes at each position, squares of positions
        (row, column), hole = divmod(i // 9, 80), i % 9
        place = (12.0 * column, 12.0 * row, hole % 3 - 1.0, hole // 3 - 1.0)
        watch.table.places[record.name] = place
    watch.table.update({r.name: r for r in records}, [r.name for r in records], verdicts)
    print(f"table made: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    size = len(watch.table.packed())
    print(f"table packed: {time.perf_counter() - start:.2f} s, {size / 1e6:.1f} MB")
    tokens = Tokens()
    app = create_app(project, tokens, watch=watch)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/?token={tokens.owner}"


def measure(address: str, pictures: Path | None) -> None:
    """Open the page and drag brushes."""
    from chromium import Browser

    browser = Browser()
    try:
        start = time.perf_counter()
        browser.open(address)
        browser.wait("document.querySelector('#app[data-ready]')", 120)
        print(f"page open to ready: {time.perf_counter() - start:.2f} s")
        print(f"  of that table fetched and read: {browser.run('icefloe.timing.load'):.0f} ms")
        browser.wait("icefloe.connected")
        # What the server does first, in the same process: the rules' counts, thumbnails.
        start = time.perf_counter()
        browser.wait("document.querySelector('section[aria-label=Rules] p[role=status]')", 120)
        print(f"counts of the rules: {time.perf_counter() - start:.1f} s later")
        time.sleep(2)
        for kind in ("histogram", "series", "scatter", "map"):
            box = browser.run(
                f"(() => {{ const e = document.querySelector('canvas.{kind}'); "
                "e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); "
                "return [r.left, r.top, r.width, r.height]; })()"
            )
            time.sleep(0.5)
            browser.run("icefloe.timing.brush.length = icefloe.timing.drawn.length = 0")
            x, y, w, h = box
            for i in range(25):
                browser.drag(x + 55, y + 12, x + 70 + (w - 90) * i / 25, y + h - 40)
                time.sleep(0.05)
            time.sleep(0.3)
            count = browser.run("icefloe.selection.count")
            shown = browser.run(
                "[...document.querySelectorAll('canvas')].filter((c) => { const r = "
                "c.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight; }).length"
            )
            print(f"brush in a {kind} ({shown} plots in view, {count} selected):")
            for title, key in (("the page's own work", "brush"), ("until drawn", "drawn")):
                times = sorted(browser.run(f"icefloe.timing.{key}"))
                print(
                    f"  {title}: median {statistics.median(times):.1f} ms, 9 of 10 below "
                    f"{times[int(0.9 * len(times))]:.1f} ms, longest {times[-1]:.1f} ms, least "
                    f"{times[0]:.1f} ms of {len(times)}"
                )
            if pictures is not None:
                browser.picture(pictures / f"page-{kind}.png")
        # The synthetic exposures have no pictures.
        other = [problem for problem in browser.problems if "/api/picture" not in problem]
        print(f"problems: {other or 'none'}")
    finally:
        browser.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=50_000)
    parser.add_argument("--headless-pictures", type=Path, default=None)
    options = parser.parse_args()
    measure(start_server(options.exposures), options.headless_pictures)


if __name__ == "__main__":
    main()
