"""The denoiser against simulated truth and other filters, and what pickers make of its output.

    python benchmarks/denoise.py --simulated [--fields 96]     truth known, other filters
    python benchmarks/denoise.py --noise                       empty ice must come out empty
    python benchmarks/denoise.py --picking [--data DIR]        real marks, with and without
    python benchmarks/denoise.py --ways WORK [--steps 60]     losses and architectures
    python benchmarks/denoise.py --speed
    python benchmarks/denoise.py --pictures DIR                before and after, real micrographs

The other filters of `--simulated` know the truth: the Gaussian low-pass is the best of 24 for each
image, and the Wiener filter is S / (S + N) from the true spectra of that image in rings, the best
that any filter which is the same in all places and directions can be. Correlations are with the
noise-free image at 6 A a pixel, without what is coarser than 96 A (uneven ice).
WORK is the directory of `icefloe.network.denoise_recipe`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from network import network
from numpy.typing import NDArray
from picking import DATA, SETS, Micrograph, auto, bootstrap, load, measure, table
from picking import icefloe as blob
from scipy.ndimage import gaussian_filter

from icefloe.network import denoise_image, load_denoiser
from icefloe.network.denoise import FOR_PICKERS, answer, noise_back, tiled
from icefloe.network.denoise_field import LIMIT, ground_level, noise_spread
from icefloe.network.denoise_pairs import HalfPair
from icefloe.network.denoise_recipe import STREAMS, WIDTHS, known_pairs, load_pairs, relative
from icefloe.network.denoise_settings import SAMPLING, DenoiserTrainSettings
from icefloe.network.denoise_train import fit, squared
from icefloe.network.synthetic.halves import random_halves

Image = NDArray[np.float32]
# A; and how far particles stand out, standard deviations of a matched filter.
BANDS = ((200, 100), (100, 60), (60, 40), (40, 30), (30, 20), (20, 12))
CLARITY = ((4, 10), (10, 20), (20, 45))


def rings(n: int) -> NDArray[np.intp]:
    ky, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]
    return np.minimum(np.rint(np.hypot(ky, kx) * n), n // 2).astype(np.intp)


def ring_sum(values: NDArray[Any], n: int) -> NDArray[np.float64]:
    # Columns inside the half plane stand for two.
    twice = np.full(values.shape, 2.0)
    twice[:, 0] = 1
    return np.bincount(rings(n).ravel(), (values * twice).ravel(), n // 2 + 1)


def ring_correlation(a: Image, b: Image) -> NDArray[np.float64]:
    """Return the Fourier ring correlation; the border fades out so that it does not count."""
    n = len(a)
    t = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.08 * n), 0, 1)
    window = np.outer(np.sin(0.5 * np.pi * t) ** 2, np.sin(0.5 * np.pi * t) ** 2)
    fa, fb = (np.fft.rfft2((x - x.mean()) * window) for x in (a, b))
    cross = ring_sum((fa * fb.conj()).real, n)
    power = ring_sum(np.abs(fa) ** 2, n) * ring_sum(np.abs(fb) ** 2, n)
    return np.asarray(cross / np.sqrt(np.maximum(power, 1e-30)))


def band_means(curve: NDArray[np.float64], n: int) -> list[float]:
    resolution = n * SAMPLING / np.maximum(np.arange(len(curve)), 1)
    return [float(curve[(resolution <= a) & (resolution > b)].mean()) for a, b in BANDS]


def correlation(a: Image, b: Image) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def best_gaussian(noisy: Image, clean: Image) -> Image:
    found = [gaussian_filter(noisy, s) for s in np.geomspace(0.3, 8, 24)]
    return max(found, key=lambda x: correlation(without_coarse(x), without_coarse(clean)))


def wiener(noisy: Image, clean: Image) -> Image:
    n = len(noisy)
    signal = ring_sum(np.abs(np.fft.rfft2(clean)) ** 2, n)
    noise = ring_sum(np.abs(np.fft.rfft2(noisy - clean)) ** 2, n)
    transfer = (signal / np.maximum(signal + noise, 1e-30))[rings(n)]
    return np.fft.irfft2(np.fft.rfft2(noisy) * transfer, noisy.shape).astype(np.float32)


METHODS: dict[str, Callable[[Image, Image], Image]] = {
    "as it is": lambda noisy, _: noisy,
    "Gaussian low-pass, best for each image": best_gaussian,
    "Wiener filter of the true spectra": wiener,
    "icefloe denoise": lambda noisy, _: answer(load_denoiser(), noisy),
}


def test_fields(count: int) -> list[tuple[Image, Image, float]]:
    """Return noisy fields, their truth, and how far particles stand out."""
    found = []
    for i in range(count):
        halves = random_halves((STREAMS["test"], i), SAMPLING)
        noisy = 0.5 * (halves.odd + halves.even)
        flat, clean = (a - ground_level(a, SAMPLING) for a in (noisy, halves.clean))
        scale = np.float32(noise_spread(flat))
        if halves.clarity > 0:
            cut = [np.clip(a / scale, -LIMIT, LIMIT).astype(np.float32) for a in (flat, clean)]
            found.append((cut[0], cut[1], halves.clarity))
    return found


def physics_fields() -> tuple[list[tuple[Image, Image, float]], list[tuple[Image, Image, float]]]:
    """Return movies of `icefloe.simulate`, with full physics that the denoiser has not seen.

    The truth is first all that both halves of the dose show, water with it; then particles alone.
    """
    from icefloe.fourier import resize
    from icefloe.simulate import SimulationSettings, noise_free_frames, simulate_movie

    whole, particles = [], []
    for defocus in (8000.0, 15000.0, 25000.0):
        settings = SimulationSettings(
            shape=(1536, 1536), pixel_size=1.25, defocus=defocus, n_frames=2, dose_per_frame=18,
            drift=0, doming=0, jitter=0, gain_strength=0, n_hot=0, n_dead=0,
        )  # fmt: skip
        name = f"denoise-{defocus:.0f}"
        made = simulate_movie(settings, name)
        # Counts of a frame per unit of contrast.
        counts = settings.dose_per_frame * settings.movie_pixel_size**2
        parts = [
            made.frames.mean(axis=0, dtype=np.float64),
            counts * noise_free_frames(settings, name, water=True).mean(axis=0),
            counts * noise_free_frames(settings, name).mean(axis=0),
        ]
        flat = []
        for part in parts:
            small = np.asarray(resize((part - part.mean()).astype(np.float32), (320, 320)))
            flat.append(small - ground_level(small, SAMPLING))
        scale = np.float32(noise_spread(flat[0]))
        noisy, everything, alone = (f / scale for f in flat)
        whole.append((noisy, everything, defocus))
        particles.append((noisy, alone, defocus))
    return whole, particles


def without_coarse(image: Image) -> Image:
    """Return an image without what is coarser than particles: uneven ice has more variance."""
    return image - gaussian_filter(image, 16.0)


def compare_filters(fields: list[tuple[Image, Image, float]], label: str) -> None:
    names = ", ".join(f"{a}-{b}" for a, b in BANDS)
    print(f"\n{label}: {len(fields)} fields; FRC bands {names} A")
    print("| method | correlation | worst | error / variance of truth | FRC in bands |")
    print("|---|---|---|---|---|")
    for name, method in METHODS.items():
        values, errors, curves = [], [], []
        for noisy, clean, _ in fields:
            found = method(noisy, clean)
            one, other = without_coarse(found), without_coarse(clean)
            values.append(correlation(one, other))
            errors.append(float(np.mean((one - other) ** 2) / other.var()))
            curves.append(band_means(ring_correlation(found, clean), len(clean)))
        bands = " ".join(f"{v:.3f}" for v in np.mean(curves, axis=0))
        print(
            f"| {name} | {np.median(values):.3f} | {min(values):.3f} | {np.median(errors):.3f} | "
            f"{bands} |"
        )


def simulated(count: int) -> None:
    fields = test_fields(count)
    for low, high in CLARITY:
        part = [f for f in fields if low <= f[2] < high]
        if part:
            compare_filters(part, f"recipe's generator, unseen seeds, particles of {low}-{high} SD")
    whole, particles = physics_fields()
    label = "icefloe.simulate (cage of 120 A; 0.8, 1.5, 2.5 um), truth: "
    compare_filters(whole, label + "all but shot noise")
    compare_filters(particles, label + "particles without water")


def noise() -> None:
    """Standard deviation of the answer to pure noise, of that at the network's sampling."""
    rng = np.random.default_rng(5)
    print("| noise | pixel, A | SD left, of that at 6 A | largest, SD at 6 A |\n|---|---|---|---|")
    for label, sigma in (("white", 0.0), ("low-passed, 1 pixel", 1.0)):
        for pixel in (0.8, 1.5, 3.0):
            image = rng.normal(100, 10, (1500, 1500)).astype(np.float32)
            image = gaussian_filter(image, sigma) if sigma else image
            found = denoise_image(image, pixel_size=pixel) - 100
            plain = _low_passed(image - image.mean(), pixel)
            left, most = found.std() / plain.std(), np.abs(found).max() / plain.std()
            print(f"| {label} | {pixel} | {left:.4f} | {most:.3f} |")


def _low_passed(image: Image, pixel: float) -> Image:
    from icefloe.fourier import resize

    size = 2 * round(0.5 * len(image) * pixel / SAMPLING)
    return np.asarray(resize(image, (size, size)))


def picking(sets: list[str], data: Path) -> None:
    rows = []
    for name in sets:
        plain = load(SETS[name], data)
        if not plain:
            print(f"There are no micrographs of {name} in {data}")
            continue
        size = SETS[name].pixel_size
        quiet = [denoise_image(m.image, pixel_size=size) for m in plain]
        shown = {"": plain} | {
            f", {share:.0%} of the noise": [
                Micrograph(m.name, noise_back(q, m.image, share), m.truth)
                for m, q in zip(plain, quiet, strict=True)
            ]
            for share in (FOR_PICKERS, 0.0)
        }
        blob(name)(plain[0], True)  # compile
        for half, part in (("tuned", slice(0, None, 2)), ("held back", slice(1, None, 2))):
            for label, everything in shown.items():
                found = everything[part]
                rows.append(measure(name, half, f"pick blob{label}", found, blob(name)))
                bank = bootstrap(name, found)
                rows.append(measure(name, half, f"pick auto{label}", found, auto(name, bank)))
                general = network(name, None)
                rows.append(measure(name, half, f"pick network{label}", found, general))
    print(table(rows))


def ways(work: Path, steps: int) -> None:
    """Train in several ways for as long each, and measure on the recipe's check set."""
    import torch
    from torch import nn

    from icefloe.network.architecture import PickerNet
    from icefloe.network.denoise_net import DenoiserNet

    pairs, truth = load_pairs(work, "train")
    checks, check_truth = load_pairs(work, "check")
    known_checks = known_pairs(checks, check_truth)[0::3]
    known = known_pairs(pairs, truth)

    def plain() -> Any:
        layers: list[Any] = [nn.Conv2d(1, 16, 3, padding=1)]
        for step in (1, 2, 4, 4, 2):
            layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, padding=step, dilation=step)]
        return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))

    def absolute(a: Any, b: Any) -> Any:
        return (a - b).abs().mean()

    class Drawing(PickerNet):
        """A U-Net that draws the answer itself."""

        def __init__(self) -> None:
            super().__init__(WIDTHS)
            self.stem = nn.Conv2d(4, WIDTHS[0], 3, padding=1)
            self.answer = nn.Conv2d(WIDTHS[0], 4, 1)

    rows: tuple[tuple[str, Callable[[], Any], list[HalfPair], Any, bool], ...] = (
        ("weights of bands, other half, squared", DenoiserNet, pairs, squared, True),
        ("weights of bands, other half, absolute", DenoiserNet, pairs, absolute, True),
        ("**weights of bands, truth, relative**", DenoiserNet, known, relative, False),
        ("drawn by a U-Net, other half, squared", Drawing, pairs, squared, True),
        ("drawn by a U-Net, truth, relative", Drawing, known, relative, False),
        ("drawn by 7 dilated layers, other half, squared", plain, pairs, squared, True),
    )
    settings = DenoiserTrainSettings(
        steps=steps, learning_rate=1e-3, batch=8, crop=128, check_every=30
    )
    print("| trained on | error / variance of truth | correlation | s |\n|---|---|---|---|")
    everything = [("weights of bands, not trained", DenoiserNet, None, None, False), *rows]
    for label, make, used, loss, swap in everything:
        torch.manual_seed(0)
        net, start = make(), time.perf_counter()
        if used is not None:
            against = checks if swap else known_checks
            fit(net, used, against, settings, loss_of=loss, swap=swap)
        took = time.perf_counter() - start
        errors, values = [], []
        for pair, clean in zip(checks, check_truth.astype(np.float32), strict=True):
            if clean.std() < 1e-3:  # nothing but noise
                continue
            with torch.inference_mode():
                found = tiled(net, pair.first.astype(np.float32))
            found, clean = without_coarse(found), without_coarse(clean)
            errors.append(float(np.mean((found - clean) ** 2) / clean.var()))
            values.append(correlation(found, clean))
        print(
            f"| {label} | {np.median(errors):.3f} | {np.median(values):.3f} | {took:.0f} |",
            flush=True,
        )


def speed() -> None:
    import resource

    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (4096, 4096)).astype(np.float32)
    for pixel in (0.8, 1.0, 1.5):
        took = []
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            denoise_image(image, pixel_size=pixel)
            took.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = min(took)
        print(f"4096 x 4096, {pixel} A: {wall:.2f} s, {cpu:.2f} CPU s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GB, the micrograph and torch included")


def pictures(folder: Path, sets: list[str], data: Path) -> None:
    """Draw a part of a real micrograph: as it is, low-passed to 20 A, denoised."""
    from matplotlib.figure import Figure

    from icefloe.fourier import apply_filter, gaussian_low_pass

    for name in sets:
        size, diameter = SETS[name].pixel_size, SETS[name].diameter
        side = int(9 * diameter / size)
        for m in load(SETS[name], data)[1:4:2]:
            low = gaussian_low_pass(m.image.shape, size, 20.0)
            shown = {
                "as it is": m.image,
                "Gaussian low-pass, 20 A": np.asarray(apply_filter(m.image, low)),
                "icefloe denoise": denoise_image(m.image, pixel_size=size),
            }
            figure = Figure(figsize=(12, 4.25), dpi=100, layout="constrained")
            for axes, (title, image) in zip(figure.subplots(1, 3), shown.items(), strict=True):
                y, x = ((n - side) // 2 for n in image.shape)
                part = image[y : y + side, x : x + side]
                black, white = np.percentile(part, [0.5, 99.5])
                axes.imshow(part, cmap="gray", vmin=black, vmax=white)
                axes.set_title(title)
                axes.set_axis_off()
            figure.savefig(folder / f"denoise-{name}-{m.name}.png", metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--fields", type=int, default=96)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ways", type=Path)
    parser.add_argument("--pictures", type=Path)
    for flag in ("simulated", "noise", "picking", "speed"):
        parser.add_argument(f"--{flag}", action="store_true")
    given = parser.parse_args()
    if given.simulated:
        simulated(given.fields)
    if given.noise:
        noise()
    if given.picking:
        picking(given.sets, given.data)
    if given.ways:
        ways(given.ways, given.steps)
    if given.speed:
        speed()
    if given.pictures:
        pictures(given.pictures, given.sets, given.data)


if __name__ == "__main__":
    main()
