"""How surely the use of a gain is found: all 16 combinations, and how many counts that needs.

    python benchmarks/gain.py

Two methods on the same sums: (a) the correlation of the high-passed sum with the predicted
pattern, which is what `icefloe gain orient` does; (b) the variance that is left in the high-passed
sum after correcting it, the lowest being the best. Counts are lowered by keeping each electron
with a fixed probability, so a thinned sum is one of a shorter exposure.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from icefloe.motion import GainUse, compare_gain_uses
from icefloe.motion.orientation import USES, high_pass_counts, turned, turned_back
from icefloe.simulate import SimulationSettings, simulate_movie

MOVIES, SIDE, FRAMES = 5, 1024, 20
COUNTS = (1.0, 0.3, 0.1, 0.05, 0.02)
TRIALS = 8


def simulated_sum(strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed counts of some movies at 1 e/pixel a frame, and the camera's gain."""
    total = np.zeros((SIDE, SIDE), dtype=np.int64)
    for i in range(MOVIES):
        settings = SimulationSettings(
            shape=(SIDE, SIDE),
            n_frames=FRAMES,
            dose_per_frame=1.0,
            pixel_size=1.0,
            gain_strength=strength,
        )
        movie = simulate_movie(settings, f"gain-{i}")
        total += movie.frames.sum(axis=0, dtype=np.int64)
    return total, movie.gain


def file_for(gain: np.ndarray, use: GainUse) -> np.ndarray:
    """Return the file of which `use` makes the gain."""
    content = turned_back(gain, use.rotate, use.flip)
    if use.divide:
        content = np.where(content > 0, 1 / np.where(content > 0, content, 1), 0)
    return np.ascontiguousarray(content, dtype=np.float32)


def by_variance(total: np.ndarray, gain: np.ndarray) -> GainUse:
    """Return the use that leaves the least variance."""
    inverse = np.where(gain > 0, 1 / np.where(gain > 0, gain, 1), 0)
    # The scale of the factors would change the variance through the filter's floor.
    factors = {d: g / g[gain > 0].mean() for d, g in ((False, gain), (True, inverse))}
    left = []
    for use in USES:
        image = high_pass_counts(total * turned(factors[use.divide], use.rotate, use.flip))
        left.append(float(image.var(dtype=np.float64)))
    return USES[int(np.argmin(left))]


def combinations() -> None:
    print("all 16 combinations, 5 movies of 1024^2 x 20 at 1 e/pixel")
    print("gain RMS   (a) right   (b) right   least sigma   s (a)   s (b)")
    for strength in (0.04, 0.02):
        total, gain = simulated_sum(strength)
        right = {"a": 0, "b": 0}
        seconds, least = {"a": 0.0, "b": 0.0}, np.inf
        for use in USES:
            content = file_for(gain, use)
            begin = time.perf_counter()
            result = compare_gain_uses(total, content)
            seconds["a"] += time.perf_counter() - begin
            right["a"] += result.best == use and result.verdict == "found"
            least = min(least, result.confidence)
            begin = time.perf_counter()
            right["b"] += by_variance(total, content) == use
            seconds["b"] += time.perf_counter() - begin
        print(
            f"{strength:<10} {right['a']:>6}/16 {right['b']:>9}/16 {least:>13.1f}"
            f" {seconds['a'] / 16:>7.2f} {seconds['b'] / 16:>7.2f}"
        )
        needed(strength, total, gain)


def needed(strength: float, total: np.ndarray, gain: np.ndarray) -> None:
    """Print how often each method is right, and the verdict is `found`, by counts a pixel."""
    rng = np.random.default_rng(0)
    mean = total.mean()
    print(f"  counts a pixel, gain RMS {strength}: (a) right, found, wrong but found, sigma; (b)")
    for counts in COUNTS:
        if counts > mean * 1.02:
            continue
        right = found = wrong = other = 0
        sigma = []
        for trial in range(TRIALS):
            use = USES[(trial * 5) % 16]
            content = file_for(gain, use)
            thin = rng.binomial(total, min(1.0, counts / mean)).astype(np.float32)
            result = compare_gain_uses(thin, content)
            right += result.best == use
            found += result.verdict == "found"
            wrong += result.verdict == "found" and result.best != use
            sigma.append(result.confidence)
            other += by_variance(thin, content) == use
        print(
            f"  {counts:>8.3g}   {right:>3}/{TRIALS} {found:>5} {wrong:>3} {np.median(sigma):>8.1f}"
            f" {other:>6}/{TRIALS}",
            flush=True,
        )


def calibration(trials: int = 2000) -> None:
    """Print how often an answer of so many sigma is right, at counts where many are wrong."""
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(trials):
        gain = 1 + 0.04 * rng.standard_normal((96, 96)).astype(np.float32)
        counts = rng.poisson(rng.uniform(0.2, 2) / gain).astype(np.float32)
        result = compare_gain_uses(counts, gain)
        rows.append((result.confidence, result.best == GainUse()))
    sigma, right = np.array(rows).T
    print("sigma       trials   right")
    for low, high in ((0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2), (2, 3), (3, 4), (4, 99)):
        chosen = (sigma >= low) & (sigma < high)
        if chosen.any():
            print(f"{low:>4}-{high:<6} {chosen.sum():>6} {right[chosen].mean():>8.2%}")
    print(f"highest sigma of a wrong answer: {sigma[right == 0].max():.2f}")


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    combinations()
    calibration()


if __name__ == "__main__":
    main()
