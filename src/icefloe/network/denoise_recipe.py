"""Make the general denoiser that Icefloe ships, from simulated halves alone.

    python -m icefloe.network.denoise_recipe WORK [--minutes 2]

Simulates what is not there yet, trains for one cycle and writes `denoiser.safetensors`; run again,
it goes on from there for another cycle. WORK takes the simulated halves (about 0.4 GB). No real
image is used. The number of batches is found from the speed of the first ones.

The target is what the halves have in common, which simulation knows. The other half, all that is
known of real micrographs, leads to the same network in the end, but its noise makes the way longer
(docs/denoise.md).
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from icefloe import __version__
from icefloe._types import AnyArray
from icefloe.fourier import get_threads, set_threads
from icefloe.network.denoise_field import LIMIT, ground_level, noise_spread
from icefloe.network.denoise_model import DenoiserModel, load_denoiser, save_denoiser
from icefloe.network.denoise_net import DenoiserNet
from icefloe.network.denoise_pairs import HalfPair
from icefloe.network.denoise_settings import SAMPLING, DenoiserCard, DenoiserTrainSettings
from icefloe.network.denoise_train import DenoiserStep, fine, fit
from icefloe.network.loop import placed, weights_of
from icefloe.network.synthetic.halves import random_halves

__all__ = [
    "STREAMS",
    "WIDTHS",
    "known_pairs",
    "load_pairs",
    "main",
    "relative",
    "simulate_pairs",
    "simulated_pair",
]

# First numbers of the seeds: pairs to train on, to watch the training with, and to test with.
STREAMS = {"train": 11, "check": 12, "test": 13}
WIDTHS = (24, 40, 64)
_RATE, _BATCH, _CROP = 1e-3, 8, 128


def simulated_pair(seed: tuple[int, ...]) -> AnyArray:
    """Return (3, n, n) float16: the two halves and the truth, in units of a half's noise."""
    halves = random_halves(seed, SAMPLING)
    flat = [a - ground_level(a, SAMPLING) for a in (halves.odd, halves.even, halves.clean)]
    scale = 0.5 * (noise_spread(flat[0]) + noise_spread(flat[1]))
    return np.clip(np.stack(flat) / scale, -LIMIT, LIMIT).astype(np.float16)


def simulate_pairs(work: Path, name: str, count: int) -> None:
    """Write `count` pairs as one array, unless it is there."""
    path = work / f"halves-{name}.npy"
    if path.exists():
        return
    start = time.perf_counter()
    seeds = [(STREAMS[name], i) for i in range(count)]
    with ProcessPoolExecutor(get_threads()) as pool:
        found = np.stack(list(pool.map(simulated_pair, seeds, chunksize=8)))
    with path.with_suffix(".part").open("wb") as handle:
        np.save(handle, found)
    path.with_suffix(".part").replace(path)
    click.echo(f"{count} pairs to {name} simulated in {time.perf_counter() - start:.0f} s")


def load_pairs(work: Path, name: str) -> tuple[list[HalfPair], AnyArray]:
    """Return what `simulate_pairs` wrote: the halves, and the truth (m, n, n)."""
    data = np.load(work / f"halves-{name}.npy")
    return [HalfPair(d[0], d[1]) for d in data], data[:, 2]


def known_pairs(pairs: list[HalfPair], truth: AnyArray) -> list[HalfPair]:
    """Return inputs with the truth as target: either half, and their mean in its own units."""
    found = []
    for pair, clean in zip(pairs, truth, strict=True):
        found += [HalfPair(pair.first, clean), HalfPair(pair.second, clean)]
        whole = 0.5 * (pair.first.astype(np.float32) + pair.second)
        scale = noise_spread(whole)
        both = np.clip(np.stack([whole, clean.astype(np.float32)]) / scale, -LIMIT, LIMIT)
        found.append(HalfPair(*both.astype(np.float16)))
    return found


def affordable(net: Any, pairs: list[HalfPair], seconds: float) -> int:
    """Return how many batches fit into a time."""
    few = DenoiserTrainSettings(steps=4, batch=_BATCH, crop=_CROP, learning_rate=1e-9)
    start = time.perf_counter()
    fit(net, pairs, pairs[:1], few, swap=False)
    return max(20, int(seconds / (time.perf_counter() - start) * few.steps))


def relative(answer: Any, target: Any) -> Any:
    """Return the mean squared error of each crop, over the variance of its truth.

    Carbon and strong particles would else be most of the loss, and the faint ones are what matters.
    """
    error = (fine(answer - target) ** 2).mean(dim=(1, 2, 3))
    return (error / (fine(target).var(dim=(1, 2, 3)) + 0.3)).mean()


def report(step: DenoiserStep) -> None:
    """Print one validation."""
    click.echo(f"batch {step.step}: loss {step.loss:.4f}, on check {step.check_loss:.4f}")


def main() -> None:
    """Simulate what is not there yet, train for one cycle, write the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="Directory for everything.")
    parser.add_argument("--minutes", type=float, default=2.0, help="For training, about.")
    parser.add_argument("--pairs", type=int, default=500, help="Simulated pairs of halves.")
    parser.add_argument("--only-simulate", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores.")
    given = parser.parse_args()
    set_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    simulate_pairs(given.work, "check", 32)
    simulate_pairs(given.work, "train", given.pairs)
    if given.only_simulate:
        return
    pairs = known_pairs(*load_pairs(given.work, "train"))
    checks = known_pairs(*load_pairs(given.work, "check"))[2::3]
    path = given.work / "denoiser.safetensors"
    torch.manual_seed(0)
    net: Any = DenoiserNet(WIDTHS)
    if path.exists():
        net = placed(net, load_denoiser(path).tensors, "cpu")
    settings = DenoiserTrainSettings(
        steps=affordable(net, pairs, 60 * given.minutes),
        batch=_BATCH,
        crop=_CROP,
        learning_rate=_RATE,
        check_every=50,
        seed=int(path.exists()),
    )
    history, best = fit(net, pairs, checks, settings, progress=report, loss_of=relative, swap=False)
    card = DenoiserCard(
        icefloe=__version__,
        name="general",
        data="simulated half-dose micrographs of 13 kinds of particles "
        "(icefloe.network.synthetic); no real image",
        widths=WIDTHS,
        pairs=given.pairs,
        scores={"relative_error": round(history[best].check_loss, 4)},
    )
    save_denoiser(path, DenoiserModel(card, weights_of(net)))
    click.echo(f"{path} written")


if __name__ == "__main__":
    main()
