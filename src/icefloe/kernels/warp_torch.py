"""The loops of `kernels.warp` as torch operations, for accelerators."""

from __future__ import annotations

import numpy as np
import torch

from icefloe._types import AnyArray, BoolArray, FloatArray, Tensor

__all__ = ["TorchAccumulator", "bin_frame_torch", "sum_frames_torch"]

_ATTEMPTS = 64


def sum_frames_torch(stack: Tensor) -> Tensor:
    """Return the float32 sum of frames (n, ny, nx), as recorded."""
    out = torch.zeros(stack.shape[1:], dtype=torch.float32, device=stack.device)
    for frame in stack:
        out += frame
    return out


def bin_frame_torch(frame: Tensor, gain: Tensor, inverse: Tensor, factor: int) -> Tensor:
    """Return what `bin_frame` returns."""
    by, bx = inverse.shape
    values = (frame.to(torch.float32) * gain)[: by * factor, : bx * factor]
    return values.reshape(by, factor, bx, factor).sum((1, 3)) * inverse


class TorchAccumulator:
    """Adds motion-corrected frames to several weighted sums, as `warp_accumulate` does."""

    def __init__(
        self,
        stack: Tensor,
        gain: Tensor,
        bad: BoolArray,
        means: FloatArray,
        seed: int,
        field: FloatArray,
        weights: FloatArray,
        sums: Tensor,
        margin: int,
    ) -> None:
        self.stack, self.gain, self.sums, self.margin = stack, gain, sums, margin
        self.means, self.seed, self.field, self.weights = means, seed, field, weights
        self.bad = np.flatnonzero(bad)
        self.good = ~bad

    def __call__(self, frames: AnyArray) -> None:
        """Add the frames with these numbers."""
        for f in frames:
            image = self._repaired(int(f))
            moved = _warp(image, self.field[f], tuple(self.sums.shape[1:]), self.margin)
            for k, weight in enumerate(self.weights[f]):
                if weight:
                    self.sums[k] += float(weight) * moved

    def _repaired(self, f: int) -> Tensor:
        image = self.stack[f].to(torch.float32) * self.gain
        if len(self.bad):
            source = _neighbours(self.bad, self.good, self.seed, f)
            flat = image.view(-1)
            values = torch.full((len(source),), float(np.float32(self.means[f])))
            values = values.to(image.device)
            known = torch.from_numpy(source >= 0).to(image.device)
            where = torch.from_numpy(np.maximum(source, 0)).to(image.device)
            values = torch.where(known, flat[where], values)
            flat[torch.from_numpy(self.bad).to(image.device)] = values
        return image


def _hash(value: AnyArray) -> AnyArray:
    with np.errstate(over="ignore"):
        z = value + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def _neighbours(bad: AnyArray, good: BoolArray, seed: int, f: int) -> AnyArray:
    # Flat index of the good neighbour that replaces each bad pixel; -1 where there is none.
    ny, nx = good.shape
    with np.errstate(over="ignore"):
        start = np.array([seed], np.uint64) + np.array([f], np.uint64) * np.uint64(
            0x632BE59BD9B4E019
        )
    state = _hash(_hash(start) ^ _hash(bad.astype(np.uint64)))
    y, x = bad // nx, bad % nx
    out = np.full(len(bad), -1, np.int64)
    for attempt in range(_ATTEMPTS):
        radius = 2 << (attempt // 16)
        side = np.uint64(2 * radius + 1)
        state = _hash(state)
        py = y + (state % side).astype(np.int64) - radius
        px = x + ((state >> np.uint64(32)) % side).astype(np.int64) - radius
        inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx) & (out < 0)
        inside[inside] = good[py[inside], px[inside]]
        out[inside] = py[inside] * nx + px[inside]
        if (out >= 0).all():
            break
    return out


def _weights(t: Tensor) -> list[Tensor]:
    u = 1.0 - t
    w0, w5 = u**5, t**5
    w2 = 66 + t**2 * (-60 + t**2 * (30 - 10 * t))
    w3 = 66 + u**2 * (-60 + u**2 * (30 - 10 * u))
    w1, w4 = (1 + u) ** 5 - 6 * w0, (1 + t) ** 5 - 6 * w5
    return [w / 120 for w in (w0, w1, w2, w3, w4, w5)]


def _line(coefficients: FloatArray, v: Tensor, nx: int) -> tuple[Tensor, Tensor, Tensor, float]:
    k = [float(c) for c in coefficients] + [0.0] * (10 - len(coefficients))
    a = k[0] + v * (k[3] + v * (k[4] + v * k[9]))
    b = k[1] + v * (k[5] + v * k[8])
    c = k[2] + k[7] * v
    d = k[6]
    c0 = a - 0.5 * b + 0.25 * c - 0.125 * d
    return c0, (b - c + 0.75 * d) / nx, (c - 1.5 * d) / nx**2, d / nx**3


def _at(c0: Tensor, c1: Tensor, c2: Tensor, c3: float, x: Tensor | float) -> Tensor:
    return c0 + x * (c1 + x * (c2 + x * c3))


def _warp(image: Tensor, field: FloatArray, shape: tuple[int, int], margin: int) -> Tensor:
    # One direction after the other, as the compiled loop does; columns beyond the edges are
    # needed for the second and are made from the repeated edge.
    ny, nx = image.shape
    device = image.device
    my, mx = shape
    y = torch.arange(my, dtype=torch.float64, device=device)[:, None] - margin
    v = y / ny - 0.5
    c0, c1, c2, c3 = _line(field[0], v, nx)
    h = _line(field[1], v, nx)
    x = torch.arange(mx, dtype=torch.float64, device=device)[None, :] - margin
    dx = _at(*h, x)
    s0 = int(torch.floor(dx.min())) - margin - 3
    s1 = mx - margin + int(torch.floor(dx.max())) + 5
    shift = _at(*h, 0.5 * nx)
    g0 = _at(c0, c1, c2, c3, -shift)
    g1 = c1 - shift * (2.0 * c2 - 3.0 * shift * c3)
    g2 = c2 - 3.0 * shift * c3
    s = torch.arange(s0, s1, dtype=torch.float64, device=device)[None, :]
    dy = _at(g0, g1, g2, c3, s)
    whole = torch.floor(dy)
    rows = (y + whole).to(torch.int64)
    columns = s.to(torch.int64).clamp(0, nx - 1).expand(my, -1)
    line = torch.zeros((my, s1 - s0), dtype=torch.float32, device=device)
    for tap, w in enumerate(_weights((dy - whole).to(torch.float32))):
        line += w * image[(rows + tap - 2).clamp(0, ny - 1), columns]
    whole = torch.floor(dx)
    first = (x + whole).to(torch.int64) - s0 - 2
    out = torch.zeros((my, mx), dtype=torch.float32, device=device)
    for tap, w in enumerate(_weights((dx - whole).to(torch.float32))):
        out += w * torch.gather(line, 1, first + tap)
    return out
