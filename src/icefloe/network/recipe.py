"""Make the general model that Icefloe ships, from simulated micrographs alone.

    python -m icefloe.network.recipe WORK --minutes 10

Each run is one cycle of training, in which the rate rises and falls, as long as the minutes allow;
it goes on from the network of the run before and writes `general.safetensors`. WORK takes the
simulated micrographs (about 1 GB) and checkpoints. No real image is used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional

from icefloe import __version__
from icefloe._types import BoolArray, FloatArray
from icefloe.fourier import get_threads, set_threads
from icefloe.network.architecture import PickerNet
from icefloe.network.calibration import Calibration, isotonic
from icefloe.network.field import even_pixels
from icefloe.network.loop import logits_of, weights_of
from icefloe.network.maps import class_maps
from icefloe.network.model import ModelCard, PickerModel
from icefloe.network.pick import field_peaks
from icefloe.network.samples import HEAT_SIGMA, Sample, Variation, crops, heat_map
from icefloe.network.settings import SAMPLES
from icefloe.network.synthetic.scenes import Family, random_scene
from icefloe.network.weights import save_model
from icefloe.scoring import match_picks, pool_picks

__all__ = ["SimulatedSet", "calibrate", "load_set", "main", "simulated_picks"]

# First numbers of the seeds: scenes to train on, to watch and calibrate with, and to test with.
STREAMS = {"train": 1, "check": 2, "test": 3, "crowded": 4, "smoothed": 5}
_FAMILIES: dict[int, Family] = {4: "crowded", 5: "smoothed"}
WIDTHS = (32, 48, 64)
_VARIATION = Variation(scale=0.05, noise=0.2, contrast=0.1)
_BATCH, _CROP, _RATE, _DECAY = 8, 128, 2e-3, 0.02
# A pick is right within this many true diameters of a centre.
_RIGHT = 0.3


@dataclass(frozen=True)
class SimulatedSet:
    """Simulated fields with their truth.

    Attributes
    ----------
    samples
        Pixels as float16, heat and junk.
    truth
        For each its centres and their diameter, (n, 3): y, x, width, pixels of the field.
    """

    samples: list[Sample]
    truth: list[FloatArray]


def simulated_sample(seed: tuple[int, ...]) -> tuple[Sample, FloatArray]:
    """Return one field, and its centres with their width (n, 3)."""
    scene = random_scene(seed, family=_FAMILIES.get(seed[0], "any"))
    yx = np.stack([scene.y, scene.x], axis=1)
    sample = Sample(
        even_pixels(scene.image, SAMPLES).astype(np.float16),
        heat_map(scene.image.shape, yx, HEAT_SIGMA * scene.width),
        scene.junk * np.uint8(255),
    )
    return sample, np.column_stack([yx, np.full(len(yx), scene.width)])


def simulate(work: Path, name: str, count: int) -> None:
    """Write `count` fields as one archive, unless it is there."""
    path = work / f"{name}.npz"
    if path.exists():
        return
    start = time.perf_counter()
    seeds = [(STREAMS[name], i) for i in range(count)]
    with ProcessPoolExecutor(get_threads()) as pool:
        found = list(pool.map(simulated_sample, seeds, chunksize=8))
    with path.with_suffix(".part").open("wb") as handle:
        np.savez(
            handle,
            pixels=np.stack([s.pixels for s, _ in found]),
            heat=np.stack([s.heat for s, _ in found]),
            junk=np.stack([s.junk for s, _ in found]),
            truth=np.concatenate([t for _, t in found]),
            counts=np.array([len(t) for _, t in found]),
        )
    path.with_suffix(".part").replace(path)
    click.echo(f"{count} fields to {name} simulated in {time.perf_counter() - start:.0f} s")


def load_set(work: Path, name: str) -> SimulatedSet:
    """Return what `simulate` wrote."""
    with np.load(work / f"{name}.npz") as data:
        arrays = (data["pixels"], data["heat"], data["junk"])
        ends = np.cumsum(data["counts"])[:-1]
        truth = np.split(data["truth"], ends)
    return SimulatedSet([Sample(*parts) for parts in zip(*arrays, strict=True)], truth)


def class_loss(logits: Any, heat: Any, junk: Any) -> Any:
    """Return the mean cross-entropy against the shares of the three classes."""
    junk = junk * (1 - heat)
    target = torch.stack([1 - heat - junk, heat, junk], dim=1)
    return -(target * functional.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def train(work: Path, steps: int, seconds: float) -> PickerNet:
    """Train for one cycle of `steps` batches, or of as many as the time allows."""
    torch.manual_seed(0)
    net: PickerNet = PickerNet(WIDTHS)
    net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    path, first, history = work / "checkpoint.pt", 0, []
    if path.exists():
        state = torch.load(path, weights_only=True)
        net.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first, history = state["step"], state["history"]
    sets = [load_set(work, name).samples for name in ("train", "crowded", "smoothed")]
    # A third of the crops from each: of crowds and smoothed images, random contents have too few.
    weights = np.repeat([1 / len(part) for part in sets], [len(part) for part in sets])
    samples = [sample for part in sets for sample in part]
    checks = load_set(work, "check").samples[:48]
    losses: list[float] = []
    start, step, part = time.perf_counter(), first, 0.0
    while part < 1:
        for group in optimiser.param_groups:
            group["lr"] = _RATE * _rise_and_fall(part)
        images, heat, junk = crops(
            samples, np.random.default_rng((7, step)), _BATCH, _CROP, _VARIATION, weights
        )
        loss = class_loss(logits_of(net, images, "cpu"), heat, junk)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        part = max((step - first) / steps, (time.perf_counter() - start) / seconds)
        losses.append(float(loss.detach()))
        if (step - first) % 200 == 0 or part >= 1:
            history.append([step, float(np.mean(losses)), _check_loss(net, checks)])
            click.echo("batch {}: loss {:.4f}, on check {:.4f}".format(*history[-1]))
            losses = []
            state = {"model": net.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "step": step, "history": history}, path)
    return net


def _rise_and_fall(part: float, rise: float = 0.1) -> float:
    """Return the learning rate relative to its highest: a line up, a cosine down."""
    if part < rise:
        return 0.05 + 0.95 * part / rise
    return 0.005 + 0.995 * 0.5 * float(1 + np.cos(np.pi * (part - rise) / (1 - rise)))


def _check_loss(net: PickerNet, checks: Sequence[Sample]) -> float:
    total = 0.0
    with torch.inference_mode():
        for sample in checks:
            image = torch.from_numpy(sample.pixels[None].astype(np.float32))
            heat, junk = (torch.from_numpy(m[None]) / 255 for m in (sample.heat, sample.junk))
            logits = net(image.contiguous(memory_format=torch.channels_last))
            total += float(class_loss(logits, heat, junk))
    return total / len(checks)


def simulated_picks(
    net: Any, chosen: SimulatedSet
) -> tuple[FloatArray, BoolArray, dict[str, float]]:
    """Return heights of all peaks, whether each is right, and the scores of the set."""
    heights, right, sets = [], [], []
    for sample, truth in zip(chosen.samples, chosen.truth, strict=True):
        with torch.inference_mode():
            centres, _ = class_maps(net, sample.pixels.astype(np.float32), "cpu")
        size = np.asarray(centres.shape)
        known = truth[((truth[:, :2] >= 0) & (truth[:, :2] <= size - 1)).all(axis=1)]
        width = float(truth[0, 2]) if len(truth) else float(SAMPLES)
        yx, values = field_peaks(centres)
        heights.append(values)
        right.append(match_picks(yx, values, known[:, :2], _RIGHT * width) >= 0)
        # One unit of length for all: the true diameter.
        sets.append((yx / width, values, known[:, :2] / width))
    score = pool_picks(sets, _RIGHT)
    figures = {"average_precision": score.average_precision, "best_f1": score.best_f1}
    return np.concatenate(heights), np.concatenate(right), figures


def calibrate(net: Any, checks: SimulatedSet) -> tuple[Calibration, dict[str, float]]:
    """Return the curve from heights to probabilities, and the scores of the check set."""
    heights, right, figures = simulated_picks(net, checks)
    return isotonic(heights, right), figures


def write(work: Path, net: PickerNet, count: int) -> Path:
    """Calibrate the network and write its weights file."""
    checks = load_set(work, "check")
    calibration, figures = calibrate(net, checks)
    truth = load_set(work, "train").truth
    card = ModelCard(
        icefloe=__version__,
        name="general",
        data="simulated micrographs of 13 kinds of particles (icefloe.network.synthetic)",
        widths=WIDTHS,
        micrographs=count,
        particles=sum(len(t) for t in truth),
        objective="cross-entropy of three classes",
        scores={f"simulated_{k}": round(v, 4) for k, v in figures.items()},
        calibration=calibration,
    )
    path = work / "general.safetensors"
    save_model(path, PickerModel(card, weights_of(net)))
    return path


def main() -> None:
    """Simulate what is not there yet, train for one cycle, write the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="Directory for everything.")
    parser.add_argument("--minutes", type=float, default=10.0, help="For training, at most.")
    parser.add_argument("--fields", type=int, default=1400, help="Simulated micrographs.")
    parser.add_argument("--steps", type=int, default=2500, help="Batches, at most.")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores.")
    given = parser.parse_args()
    set_threads(given.threads)
    torch.set_num_threads(get_threads())
    given.work.mkdir(parents=True, exist_ok=True)
    simulate(given.work, "check", 200)
    simulate(given.work, "train", given.fields)
    simulate(given.work, "crowded", given.fields // 4)
    simulate(given.work, "smoothed", given.fields // 4)
    net = train(given.work, given.steps, 60 * given.minutes)
    click.echo(f"{write(given.work, net, given.fields)} written")


if __name__ == "__main__":
    main()
