"""Template matching: time, agreement with the plain way, centres, and what CTF and whitening do.

    python benchmarks/template_matching.py [--only time equality simulated] [--model PDB]

time        12 templates at 72 angles on a micrograph of 4096 x 4096 (1.77 A, 190 A particle):
            `pick_templates` as a whole, and matching alone, through components and one by one.
equality    scores, angles, and picks of the two, for components of several tolerances.
simulated   `simulate_micrograph` at 1, 2 and 3 um, templates from the model: AP, F1 and error of
            the centres, with and without the micrograph's CTF and whitening, and at finer pixels.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from icefloe.fourier import get_threads
from icefloe.picking import (
    MatchSettings,
    TemplateBank,
    bootstrap_bank,
    even_directions,
    match,
    pick_templates,
    picks_from_maps,
    project_atoms,
    score_maps,
    template_bank,
)
from icefloe.picking.match import match_templates
from icefloe.picking.template import REACH, match_field
from icefloe.scoring import pool_picks
from icefloe.simulate import SimulationSettings, simulate_micrograph
from icefloe.simulate.specimen import load_particle

PIXEL, DIAMETER = 1.77, 190.0
SETTINGS = MatchSettings(diameter=DIAMETER)
Array = NDArray[np.float64]


def unlike_templates(k: int = 12) -> TemplateBank:
    """Smooth random images without any symmetry: harder to compress than projections."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-48:48, -48:48]
    detail = gaussian_filter(rng.normal(size=(k, 96, 96)), (0, 5, 5))
    r2 = x**2 + y**2
    images = detail / detail.std() * np.exp(-r2 / 25.0**2) + 2 * np.exp(-r2 / 20.0**2)
    return template_bank(images, pixel_size=3.54, diameter=DIAMETER)


def micrograph() -> NDArray[np.float32]:
    """4096 x 4096 of noise with copies of the templates, turned by multiples of 5 degrees."""
    from scipy.ndimage import rotate, zoom

    rng = np.random.default_rng(1)
    image = rng.normal(size=(4096, 4096)).astype(np.float32)
    views = [zoom(t, 2, order=1).astype(np.float32) for t in unlike_templates().images]
    for row in range(150, 3900, 220):
        for column in range(150, 3900, 220):
            view = views[int(rng.integers(len(views)))]
            turned = rotate(view, 5 * int(rng.integers(72)), reshape=False, order=1)
            n = len(turned)
            y, x = row + int(rng.integers(-20, 20)), column + int(rng.integers(-20, 20))
            y, x = min(y, 4096 - n), min(x, 4096 - n)
            image[y : y + n, x : x + n] -= 0.15 * turned
    return image


def best_of(call: Callable[[], object], n: int = 5) -> tuple[float, float]:
    """Return the least wall time and the least CPU time, s, of several calls after a first one."""
    call()
    wall, cpu = [], []
    for _ in range(n):
        start, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def show_time(image: NDArray[np.float32]) -> None:
    field = match_field(image, pixel_size=PIXEL, diameter=DIAMETER, settings=SETTINGS)
    print(
        f"search image {field.image.shape}, {get_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    print("| what | wall, s | CPU, s |\n|---|---|---|")
    unlike = unlike_templates()
    found = bootstrap_bank([image], pixel_size=PIXEL, settings=SETTINGS)
    for name, bank in (("12 unlike templates", unlike), ("the round one of `auto`", found.bank)):
        scaled = bank.scaled(field.pixel_size, REACH * DIAMETER)

        def whole(bank: TemplateBank = bank) -> object:
            return pick_templates(image, bank, pixel_size=PIXEL, settings=SETTINGS)

        def alone(scaled: TemplateBank = scaled, exact: bool = False) -> object:
            return match_templates(field.image, field.inside, scaled, exact=exact)

        print("| {}, pick_templates | {:.2f} | {:.2f} |".format(name, *best_of(whole)))
        print("| {}, matching alone | {:.2f} | {:.2f} |".format(name, *best_of(alone)))
        if bank is unlike:
            plain = best_of(lambda s=scaled: alone(s, True), 2)
            print("| {}, one by one | {:.2f} | {:.2f} |".format(name, *plain))


def show_equality(image: NDArray[np.float32]) -> None:
    field = match_field(image, pixel_size=PIXEL, diameter=DIAMETER, settings=SETTINGS)
    bank = unlike_templates()
    scaled = bank.scaled(field.pixel_size, REACH * DIAMETER)
    every = match_templates(field.image, field.inside, scaled, exact=True)
    maps = score_maps(image, bank, pixel_size=PIXEL, settings=SETTINGS)
    crop = field.search.crop

    def picks_of(found: match.MatchMaps) -> tuple[Array, Array, Array]:
        from dataclasses import replace

        values = {k: crop(getattr(found, k)) for k in ("score", "angle")}
        picks = picks_from_maps(
            replace(maps, **values, template=crop(found.template) + 1), SETTINGS
        )
        assert picks.psi is not None
        return np.stack([picks.y, picks.x], 1), picks.score, picks.psi

    places, scores, psi = picks_of(every)
    print("| tolerance | components | CPU, s | score, max | score, RMS | same template | picks | "
          "same | position, median, max, px | score of a pick, max | psi, median |")  # fmt: skip
    print("|" + "---|" * 11)
    usual = match._TOLERANCE
    for tolerance in (0.1, 0.05, 0.03, 0.015, 0.0075):
        match._TOLERANCE = tolerance
        _, cpu = best_of(lambda: match_templates(field.image, field.inside, scaled), 2)
        quick = match_templates(field.image, field.inside, scaled)
        inside = field.inside
        difference = (quick.score - every.score)[inside]
        same = (quick.template == every.template)[inside].mean()
        at, height, turn = picks_of(quick)
        distance = np.hypot(*(at[:, None] - places[None]).transpose(2, 0, 1))
        which, near = distance.argmin(axis=1), distance.min(axis=1) < 5
        moved = distance.min(axis=1)[near]
        turned = np.abs((turn - psi[which] + 180) % 360 - 180)[near]
        print(
            f"| {tolerance} | {quick.components} | {cpu:.2f} | {np.abs(difference).max():.4f} | "
            f"{difference.std():.5f} | {same:.3f} | {len(at)} of {len(places)} | {near.sum()} | "
            f"{np.median(moved):.2f}, {moved.max():.2f} | "
            f"{np.abs(height - scores[which])[near].max():.4f} | {np.median(turned):.2f} |"
        )
    match._TOLERANCE = usual


def show_simulated(model: str, size: int) -> None:
    particle = load_particle(model)
    pixel = particle.diameter / 60
    images = project_atoms(
        particle.atoms, particle.weights, even_directions(12), pixel_size=pixel, box=96,
        resolution=15.0,
    )  # fmt: skip
    bank = template_bank(images, pixel_size=pixel, diameter=particle.diameter, contrast="bright")
    print(f"{model}: {particle.diameter:.0f} A, {len(images)} templates")
    print("| defocus, um | what | AP | F1 | best F1 | centre, median, A | score, median |")
    print("|---|---|---|---|---|---|---|")
    ways: tuple[tuple[str, dict[str, object]], ...] = (
        ("no CTF", {"ctf": False}),
        ("CTF", {}),
        ("CTF, whitened", {"whiten": True}),
        ("CTF, low-pass 40 A", {"low_pass": 40.0}),
        ("CTF, 14 pixels a diameter", {"samples": 14}),
        ("CTF, 24 pixels a diameter", {"samples": 24}),
    )
    for defocus in (10000.0, 20000.0, 30000.0):
        scenes = [
            simulate_micrograph(
                SimulationSettings.make(
                    shape=(size, size), pixel_size=1.5, n_frames=30, defocus=defocus,
                    particle=model, packing=0.25,
                ),
                f"match{i}",
            )
            for i in range(2)
        ]  # fmt: skip
        for name, changes in ways:
            values = {k: v for k, v in changes.items() if k != "ctf"}
            settings = MatchSettings.model_validate(values)
            usual, low, errors = [], [], []
            for scene in scenes:
                truth = scene.truth
                maps = score_maps(
                    scene.image, bank, pixel_size=1.5, settings=settings,
                    ctf=truth.ctf if changes.get("ctf", True) else None,
                )  # fmt: skip
                for threshold, rows in ((settings.threshold, usual), (0.02, low)):
                    chosen = settings.model_copy(update={"threshold": threshold})
                    picks = picks_from_maps(maps, chosen)
                    rows.append((np.stack([picks.y, picks.x], 1), picks.score, truth.yx))
                found = usual[-1][0]
                distance = np.hypot(*(found[:, None] - truth.yx).transpose(2, 0, 1))
                nearest = distance.min(axis=1) if len(found) else np.zeros(0)
                errors.append(nearest[nearest < 0.3 * particle.diameter / 1.5] * 1.5)
            limit = 0.3 * particle.diameter / 1.5
            a, b = pool_picks(usual, limit), pool_picks(low, limit)
            error = np.concatenate(errors)
            middle = np.median(error) if error.size else np.nan
            height = np.median(np.concatenate([row[1] for row in usual]))
            print(
                f"| {defocus / 1e4:g} | {name} | {b.average_precision:.3f} | {a.f1:.3f} | "
                f"{b.best_f1:.3f} | {middle:.2f} | {height:.3f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["time", "equality", "simulated"])
    parser.add_argument("--model", default="cage", help="'cage', or a PDB or mmCIF file")
    parser.add_argument("--size", type=int, default=1536, help="of a simulated micrograph, pixels")
    given = parser.parse_args()
    if given.model != "cage":
        given.model = str(Path(given.model).resolve())
    if {"time", "equality"} & set(given.only):
        image = micrograph()
        if "time" in given.only:
            show_time(image)
        if "equality" in given.only:
            show_equality(image)
    if "simulated" in given.only:
        show_simulated(given.model, given.size)


if __name__ == "__main__":
    main()
