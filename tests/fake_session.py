"""A session directory with plausible records and pictures, written without running a stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from icefloe.engine.pick_candidates import Candidates
from icefloe.optics import CtfParameters, ctf_1d, ctf_2d
from icefloe.project import FileIdentity, Project, Sidecar, write_sidecar

FRAMES, PIXEL, SHAPE = 40, 1.05, (3838, 3710)
TRUNCATED = "The file ends early: frame 23 of 40 is missing. Copy the movie again."


def make_session(
    root: Path, n_movies: int = 8, *, micrograph_only: bool = True, preview: int = 256
) -> Project:
    """Write a session of `n_movies` movies; the sixth one failed in its import."""
    project = Project.create(root)
    project.settings_file.write_text("# written by the tests\n")
    sources = {f"movie_{i:04d}": f"/data/movie_{i:04d}.tiff" for i in range(1, n_movies + 1)}
    if micrograph_only:
        sources["square07_hole3"] = "/data/square07_hole3.mrc"
    project.write_registry(sources)
    for i, (name, source) in enumerate(sources.items()):
        rng = np.random.default_rng(i)
        movie = source.endswith(".tiff")
        if i == 5:
            _write(project, name, "import", source=source, error=TRUNCATED)
            continue
        kind = {"kind": "movie" if movie else "micrograph", "shape": list(SHAPE)}
        _write(project, name, "import", numbers=kind, source=source)
        if movie:
            _write(project, name, "motion", numbers=motion_numbers(rng))
        defocus = 6000 + 2600 * (i % 9) + float(rng.normal(0, 300))
        empty = i == 3
        ctf = ctf_numbers(rng, defocus, unusable=empty)
        _write(project, name, "ctf", numbers=ctf, flags=("no Thon rings",) if empty else ())
        picks = pick_numbers(rng, 0 if empty else int(rng.integers(120, 320)))
        files = {"candidates": _candidates(project, name, picks, rng)}
        _write(project, name, "pick", numbers=picks, files=files)
        extracted = {"n_particles": picks["n_picks"], "n_dropped": 0, "box": 64}
        _write(
            project,
            name,
            "extract",
            numbers={**extracted, "extract_box": 256, "pixel_size": 4.2},
        )
        _previews(project.exposures / name, rng, ctf, picks, preview, rings=not empty)
    return project


def _write(
    project: Project,
    name: str,
    stage: str,
    *,
    numbers: dict[str, Any] | None = None,
    flags: tuple[str, ...] = (),
    source: str = "",
    error: str = "",
    files: dict[str, str] | None = None,
) -> None:
    path = project.sidecar(name, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sidecar(
        path,
        Sidecar(
            stage=stage,
            status="failed" if error else "done",
            exposure=name,
            settings_hash="0",
            fingerprint="0",
            input=FileIdentity(source, 1, 1) if source else None,
            numbers=numbers or {},
            flags=flags,
            files=files or {},
            error={"type": "TruncatedFileError", "message": error} if error else None,
        ),
    )


def motion_numbers(rng: np.random.Generator, patches: int = 5) -> dict[str, Any]:
    """A drift that decays, with a smooth local part that grows outwards."""
    t = np.arange(FRAMES) / FRAMES
    drift = rng.normal(0, 9, 2)[None] * (1 - np.exp(-4 * t))[:, None] + rng.normal(0, 2, 2) * (
        t[:, None] ** 2
    )
    drift = drift + np.cumsum(rng.normal(0, 0.06, (FRAMES, 2)), axis=0)
    drift -= drift[0]
    ny, nx = SHAPE
    cy, cx = ((np.arange(patches) + 0.5) / patches * n for n in SHAPE)
    centres = np.array([(y, x) for y in cy for x in cx])
    outward = (centres - np.array([ny / 2, nx / 2])) / (nx / 2)
    local = 2.2 * outward[:, None] * (1 - np.exp(-3 * t))[None, :, None]
    early = float(np.sum(np.hypot(*np.diff(drift[:5], axis=0).T)) * PIXEL)
    late = float(np.sum(np.hypot(*np.diff(drift[4:], axis=0).T)) * PIXEL)
    return {
        "movie_pixel_size": PIXEL,
        "pixel_size": PIXEL,
        "movie_shape": [ny, nx],
        "shape": [ny, nx],
        "n_frames": FRAMES,
        "n_frames_total": FRAMES,
        "first_frame": 1,
        "binning": 1.0,
        "dose_per_frame": 1.2,
        "pre_exposure": 0.0,
        "voltage": 300.0,
        "global_shifts": drift.round(4).tolist(),
        "patch_centres": centres.tolist(),
        "patch_shifts": (drift[None] + local).round(4).tolist(),
        "n_defects": 12,
        "hot_pixels": [],
        "motion_total": early + late,
        "motion_early": early,
        "motion_late": late,
        "power_spectrum_pixel_size": 1.4,
        "mean_correlation": 0.3,
    }


def ctf_numbers(
    rng: np.random.Generator, defocus: float, *, unusable: bool = False
) -> dict[str, Any]:
    """A fit with curves of the exact CTF under an envelope, with noise.

    Where there are no rings the numbers are there all the same, as a search always finds a best.
    """
    astigmatism = abs(float(rng.normal(200, 120)))
    u, v = defocus + astigmatism / 2, defocus - astigmatism / 2
    angle = float(rng.uniform(-90, 90))
    k = np.linspace(0, 1 / 2.8, 256)
    rings = ctf_1d(CtfParameters(u, v, angle), k) ** 2
    resolution = 3.2 + 1.5 * float(rng.random())
    envelope = np.exp(-((k * resolution) ** 2))
    noise = rng.normal(0, 0.04, len(k))
    measured = noise if unusable else (rings - 0.5) * envelope + 0.5 + noise
    correlation = 0.97 * np.exp(-((k * resolution * 0.75) ** 6)) * (not unusable)
    curves = {
        "frequency": k,
        "experimental": (measured - 0.5) * np.exp(-((k * 5) ** 2)) + 0.5,
        "equiphase": measured,
        "model": rings,
        "correlation": correlation + rng.normal(0, 0.02, len(k)),
        "noise": 1.2 / np.sqrt(1 + np.arange(len(k))),
    }
    return {
        "defocus_u": u,
        "defocus_v": v,
        "defocus_angle": angle,
        "phase_shift": 0.0,
        "astigmatism": astigmatism,
        "figure_of_merit": 0.01 if unusable else 0.2,
        "fit_resolution": resolution,
        "fit_resolution_03": resolution * 0.9,
        "defocus_error": 14.0,
        "ice_ring": False,
        "iciness": abs(float(rng.normal(0.1, 0.05))),
        "voltage": 300.0,
        "cs": 2.7,
        "amplitude_contrast": 0.1,
        "pixel_size": PIXEL,
        "spectrum_pixel_size": 1.4,
        "curves": {key: values.round(5).tolist() for key, values in curves.items()},
    }


def pick_numbers(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Picks at random places."""
    y, x = (rng.uniform(80, size - 80, n).round(1).tolist() for size in SHAPE)
    return {
        "diameter_min": 120.0,
        "diameter_max": 140.0,
        "threshold": 3.0,
        "n_picks": n,
        "y": y,
        "x": x,
        "score": rng.normal(6, 1, n).round(3).tolist(),
        "diameter": [130.0] * n,
        "median_score": 6.0,
    }


def _candidates(
    project: Project, name: str, picks: dict[str, Any], rng: np.random.Generator, weaker: int = 50
) -> str:
    """Write the picks with weaker peaks at random places, and return the file's name."""
    n = picks["n_picks"]
    order = np.argsort(-np.asarray(picks["score"]), kind="stable") if n else np.zeros(0, int)
    fresh = {
        "y": rng.uniform(80, SHAPE[0] - 80, weaker),
        "x": rng.uniform(80, SHAPE[1] - 80, weaker),
        "score": np.sort(rng.uniform(0, 2.99, weaker))[::-1],
        "diameter": np.full(weaker, 130.0),
    }
    columns = {k: np.concatenate([np.asarray(picks[k])[order], v]) for k, v in fresh.items()}
    columns["power"] = rng.gamma(9, 1 / 9, n + weaker)
    path = project.exposures / name / "pick_candidates.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Candidates(columns, n, picks["threshold"]).packed())
    return project.listed(path)


def _previews(
    directory: Path,
    rng: np.random.Generator,
    ctf: dict[str, Any],
    picks: dict[str, Any],
    size: int,
    *,
    rings: bool,
) -> None:
    ny, nx = size, round(size * SHAPE[1] / SHAPE[0])
    yy, xx = np.mgrid[:ny, :nx]
    image = 3 * gaussian_filter(rng.normal(0, 1, (ny, nx)), 1.0)
    scale = size / SHAPE[0]
    for y, x in zip(picks["y"], picks["x"], strict=True):
        y0, x0, r = int(y * scale), int(x * scale), math.ceil(80 * scale / PIXEL)
        part = (slice(max(0, y0 - r), y0 + r), slice(max(0, x0 - r), x0 + r))
        image[part] -= 1.2 * (np.hypot(yy[part] - y0, xx[part] - x0) < 65 * scale / PIXEL)
    _png(directory / "micrograph.png", 128 + 40 * image)
    thon = np.zeros((256, 256))
    if rings:
        p = CtfParameters(ctf["defocus_u"], ctf["defocus_v"], ctf["defocus_angle"])
        thon = np.fft.fftshift(ctf_2d(p, (256, 256), 1.4, real=False) ** 2)
    _png(directory / "ctf.png", 60 + 120 * thon + rng.normal(0, 18, thon.shape))


def _png(path: Path, values: np.ndarray) -> None:
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path)
