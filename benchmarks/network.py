"""The neural picker on real micrographs with marked particles.

    python benchmarks/network.py [--data DIR] [--sets apoferritin betagal] [--pictures DIR]
    python benchmarks/network.py --objectives [--sets betagal]
    python benchmarks/network.py --simulated 110
    python benchmarks/network.py --speed

The first compares the general network, which has seen none of these data, and one trained further
on the marks of three micrographs of the tuned half (the first, third, fifth file) with the blob
and template pickers, and with `pick learn`, which learns from what a template from the same half
finds; no weights or settings were chosen by the held-back half (second,
fourth, ...), with one exception: a first look at its reliability led to moving the validation
strips away from the border. The
matching rule is that of `picking.py`. `--pictures` writes picks over micrographs, the training's
curve and the reliability of the scores.

`--objectives` trains with each way to take unmarked places, on all and on a quarter of the marks of
the same three micrographs, and tests on the rest of the tuned half. `--simulated` asks how often
the general network's scores are right on fields that neither its training nor its calibration saw.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from picking import (
    DATA,
    SETS,
    Array,
    Found,
    Micrograph,
    auto,
    bootstrap,
    load,
    measure,
    picture,
    table,
)
from picking import icefloe as blob

from icefloe.network import (
    NetworkSettings,
    PickerModel,
    Training,
    TrainSettings,
    learn_particle,
    load_model,
    pick_network,
    train_network,
)
from icefloe.scoring import match_picks, pool_picks

# What Topaz 0.3.20 with its pretrained resnet8_u32 reaches; see shared/data/README.md.
TOPAZ = {
    "apoferritin": "| apoferritin | 19 of it | Topaz, pretrained | 0.92 | - | 0.88 | - | - | - |",
    "betagal": "| betagal | 3 of it | Topaz, pretrained | 0.70 | - | 0.72 | - | - | - |",
}
_LOW = 0.005


def network(
    name: str, model: PickerModel | None, **changes: object
) -> Callable[[Micrograph, bool], Found]:
    """`pick_network` with the diameter given."""
    chosen = SETS[name]

    def pick(m: Micrograph, default: bool) -> Found:
        values = dict(changes) if default else {"threshold": _LOW, **changes}
        picks = pick_network(
            m.image,
            pixel_size=chosen.pixel_size,
            diameter=chosen.diameter,
            model=model,
            settings=NetworkSettings.model_validate(values),
        )
        return np.stack([picks.y, picks.x], axis=1), picks.score

    return pick


def learned(name: str, part: list[Micrograph]) -> Callable[[Micrograph, bool], Found]:
    """`icefloe pick learn`: neither marks nor the diameter are given."""
    bank = bootstrap(name, part)
    pixel_size = SETS[name].pixel_size
    done = learn_particle([m.image for m in part], bank, pixel_size=pixel_size)

    def pick(m: Micrograph, default: bool) -> Found:
        picks = pick_network(
            m.image,
            pixel_size=pixel_size,
            diameter=bank.diameter,
            model=done.training.model,
            settings=NetworkSettings() if default else NetworkSettings(threshold=_LOW),
        )
        return np.stack([picks.y, picks.x], axis=1), picks.score

    return pick


def trained(
    name: str, part: list[Micrograph], share: float = 1.0, **changes: object
) -> tuple[Training, float]:
    """Train on the marks of micrographs, or a share of them; also return the seconds."""
    rng = np.random.default_rng(1)
    marks = [m.truth[rng.random(len(m.truth)) < share] for m in part]
    start = time.perf_counter()
    done = train_network(
        [m.image for m in part],
        [(yx[:, 0], yx[:, 1]) for yx in marks],
        pixel_size=SETS[name].pixel_size,
        diameter=SETS[name].diameter,
        settings=TrainSettings.model_validate(changes),
        name=name,
    )
    return done, time.perf_counter() - start


def judged(
    name: str, part: list[Micrograph], pick: Callable[[Micrograph, bool], Found]
) -> tuple[Array, np.ndarray]:
    """Return the scores of all picks down to a low threshold, and whether each is marked."""
    distance = 0.3 * SETS[name].diameter / SETS[name].pixel_size
    scores, right = [], []
    for m in part:
        yx, values = pick(m, False)
        scores.append(values)
        right.append(np.asarray(match_picks(yx, values, m.truth, distance)) >= 0)
    return np.concatenate(scores), np.concatenate(right)


def reliability_picture(found: dict[str, tuple[Array, np.ndarray]], path: Path) -> None:
    """Draw the share of marked picks over their score, a panel a model."""
    from matplotlib.figure import Figure

    from icefloe.cli.train_picture import draw_reliability

    figure = Figure(figsize=(3.4 * len(found), 3.4), dpi=110, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(found)))
    for axes, (title, (scores, right)) in zip(panels, found.items(), strict=True):
        draw_reliability(axes, scores, right)
        axes.set_title(title, fontsize=9)
    figure.savefig(path, metadata={"Software": None})


def compare(sets: list[str], data: Path, pictures: Path | None, others: bool) -> None:
    from icefloe.cli.train_picture import draw_training

    rows, lines, plots = [], [], {}
    for name in sets:
        micrographs = load(SETS[name], data)
        if not micrographs:
            print(f"There are no micrographs of {name} in {data}")
            continue
        tuned, held = micrographs[0::2], micrographs[1::2]
        done, seconds = trained(name, tuned[:3])
        lines.append(
            f"{name}: trained in {seconds:.0f} s, kept batch {done.history[done.best].step}"
        )
        lines += [f"  {flag}" for flag in done.flags]
        general, special = network(name, None), network(name, done.model)
        general(micrographs[0], True)  # compile
        if others:
            blob(name)(micrographs[0], True)
        for half, part in (("tuned", tuned), ("held back", held)):
            rows.append(measure(name, half, "icefloe pick network, general", part, general))
            note = "trained on three" if half == "held back" else "trained on three of these"
            rows.append(measure(name, half, f"icefloe pick network, {note}", part, special))
            rows.append(measure(name, half, "icefloe pick learn", part, learned(name, part)))
            if not others:
                continue
            rows.append(measure(name, half, "icefloe pick blob", part, blob(name)))
            bank = bootstrap(name, part)
            rows.append(measure(name, half, "icefloe pick auto", part, auto(name, bank)))
        plots[f"{name}, general"] = judged(name, held, general)
        plots[f"{name}, trained"] = judged(name, held, special)
        if pictures:
            draw_training(done, pictures / f"network-training-{name}.png")
            shown = held[-1] if name == "betagal" else held[0]
            picture(name, shown, general(shown, True), pictures / f"network-general-{name}.png")
            picture(name, shown, special(shown, True), pictures / f"network-trained-{name}.png")
    print(table(rows))
    print("\n".join(TOPAZ[name] for name in sets))
    print("\n".join(lines))
    for title, (scores, right) in plots.items():
        for low, high in ((0.4, 0.6), (0.7, 0.9), (0.9, 1.0)):
            here = (scores >= low) & (scores < high + (high == 1.0))
            if here.any():
                said, true = scores[here].mean(), right[here].mean()
                print(f"{title}: {here.sum()} picks given {said:.2f} on average, {true:.2f} marked")
    if pictures and plots:
        reliability_picture(plots, pictures / "network-reliability.png")


def objectives(sets: list[str], data: Path, steps: int) -> None:
    print("| data | marks | objective | AP | best F1 | s |\n|---|---|---|---|---|---|")
    for name in sets:
        tuned = load(SETS[name], data)[0::2]
        distance = 0.3 * SETS[name].diameter / SETS[name].pixel_size
        for share in (1.0, 0.25):
            for objective in ("pn", "truncated", "nnpu", "ge-binomial"):
                missing = 1 - 0.9 * share
                done, seconds = trained(
                    name, tuned[:3], share, objective=objective, missing=missing, steps=steps
                )
                pick = network(name, done.model)
                found = [(*pick(m, False), m.truth) for m in tuned[3:]]
                score = pool_picks(found, distance)
                cells = f"{score.average_precision:.3f} | {score.best_f1:.3f} | {seconds:.0f}"
                print(f"| {name} | {share:.0%} | {objective} | {cells} |", flush=True)


def simulated(count: int) -> None:
    """Reliability of the general network's scores on unseen simulated fields."""
    from icefloe.network.calibration import reliability
    from icefloe.network.recipe import STREAMS, SimulatedSet, simulated_picks, simulated_sample

    model = load_model()
    fields = [simulated_sample((STREAMS["test"], i)) for i in range(count)]
    chosen = SimulatedSet([s for s, _ in fields], [t for _, t in fields])
    heights, right, figures = simulated_picks(model.net("cpu"), chosen)
    print(f"{count} simulated fields: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    print("| given | right | picks |\n|---|---|---|")
    for said, true, number in zip(*reliability(model.probability(heights), right), strict=True):
        print(f"| {said:.2f} | {true:.2f} | {number} |")


def speed() -> None:
    """Time and memory of one micrograph of 4096 x 4096, 1 A a pixel, particles of 150 A."""
    import resource

    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (4096, 4096)).astype(np.float32)
    general = load_model()
    trained = PickerModel(general.card.model_copy(update={"views": 4}), general.tensors)
    best: dict[str, Any] = {}
    for label, model in (("general", general), ("trained, up to four turns", trained)):
        for diameter in (80.0, 150.0, 300.0):
            took = []
            for _ in range(4):
                wall, cpu = time.perf_counter(), time.process_time()
                pick_network(image, pixel_size=1.0, diameter=diameter, model=model)
                took.append((time.perf_counter() - wall, time.process_time() - cpu))
            best[f"{label}, {diameter:.0f} A"] = min(took)
    for label, (wall, cpu) in best.items():
        print(f"{label}: {wall:.2f} s, {cpu:.2f} CPU s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GB, the micrograph and torch included")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--pictures", type=Path, help="Write PNG files there.")
    parser.add_argument("--no-others", action="store_true", help="Without blob and auto.")
    parser.add_argument("--objectives", action="store_true")
    parser.add_argument("--steps", type=int, default=300, help="Of --objectives.")
    parser.add_argument("--simulated", type=int, help="So many simulated fields.")
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    if given.speed:
        speed()
    elif given.simulated:
        simulated(given.simulated)
    elif given.objectives:
        objectives(given.sets, given.data, given.steps)
    else:
        compare(given.sets, given.data, given.pictures, not given.no_others)


if __name__ == "__main__":
    main()
