"""2D class averages against RELION and against the truth.

    python benchmarks/classes.py real [--data DIR] [--work DIR] [--relion-iterations 25]
    python benchmarks/classes.py simulated [--data DIR] [--particles 3000] [--snr 0.05]
        [--relion-iterations 20] [--particle-seed 1]
    python benchmarks/classes.py speed [--data DIR]
    python benchmarks/classes.py choices [--data DIR]

`real`: apoferritin of shared/data at its marked coordinates, extracted by icefloe (64 pixels of
3 A), K = 20, both programs on the same stack. RELION's files stay in --work and are not made again.
Resolutions of both come from one program, `half_resolutions` below, which turns and moves the
particles of each class by the angles and origins in the program's own data STAR, by RELION's
conventions, and compares the averages of even and odd particles.

`simulated`: GroEL in ten known directions, random in the plane; angles and places are judged up to
each class's own turn and shift. `choices` compares ways that were tried.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from icefloe.classes import ClassifySettings, classify_particles
from icefloe.formats import StarTable, read_image, read_mrc, read_star, write_mrc, write_star
from icefloe.fourier import irfft2, rfft2
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.interop.relion_picks import coordinate_files
from icefloe.optics import CtfParameters, ctf_2d
from icefloe.picking import even_directions
from icefloe.simulate.specimen import euler_matrices, load_particle

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
Array = NDArray[Any]
K, DIAMETER, MASK, PIXEL = 20, 130.0, 150.0, 3.0


# -- one measure for both programs -------------------------------------------------------------


def half_resolutions(star: Path, root: Path, diameter: float) -> list[tuple[int, float, float]]:
    """Return (particles, A at FRC 0.143, A at FRC 0.5) of each class of at least 10 particles."""
    blocks = read_star(star)
    table, optics = blocks["particles"], blocks["optics"]
    size = float(optics["rlnImagePixelSize"][0])
    lens = [float(optics[c][0]) for c in
            ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")]  # fmt: skip
    stacks: dict[str, Array] = {}
    images = []
    for name in table["rlnImageName"].astype(str):
        index, _, file = name.partition("@")
        if file not in stacks:
            stacks[file] = read_mrc(root / file)[0]
        images.append(stacks[file][int(index) - 1])
    number = np.asarray(table["rlnClassNumber"]).astype(int)
    psi = np.deg2rad(np.asarray(table["rlnAnglePsi"], float))
    ox, oy = (np.asarray(table[f"rlnOrigin{a}Angst"], float) / size for a in "XY")
    ctfs = [CtfParameters(float(u), float(v), float(a), *lens) for u, v, a in
            zip(table["rlnDefocusU"], table["rlnDefocusV"], table["rlnDefocusAngle"],
                strict=True)]  # fmt: skip
    found = []
    n = images[0].shape[0]
    mask = disc(n, diameter / size)
    for k in np.unique(number):
        members = np.flatnonzero(number == k)
        if len(members) < 10:
            continue
        halves = [
            average([images[i] for i in part], [ctfs[i] for i in part], psi[part], oy[part],
                    ox[part], size)
            for part in (members[::2], members[1::2])
        ]  # fmt: skip
        curve = ring_correlation(halves[0] * mask, halves[1] * mask)
        found.append((len(members), *(crossing(curve, size, t) for t in (0.143, 0.5))))
    return found


def average(images: list[Array], ctfs: list[CtfParameters], psi: Array, oy: Array, ox: Array,
            size: float) -> Array:  # fmt: skip
    """Average by RELION's conventions, written for this purpose alone: cubic, one by one."""
    n = images[0].shape[0]
    c = np.arange(n) - n // 2
    y, x = np.meshgrid(c, c, indexing="ij")
    total, weight = np.zeros((n, n)), np.zeros((n, n // 2 + 1))
    for image, ctf, angle, dy, dx in zip(images, ctfs, psi, oy, ox, strict=True):
        transfer = -ctf_2d(ctf, (n, n), size)
        seen = irfft2(rfft2(image) * transfer, (n, n))
        # The class at (x, y) is seen at R(psi) (x, y) - origin.
        at_x = np.cos(angle) * x + np.sin(angle) * y - dx
        at_y = -np.sin(angle) * x + np.cos(angle) * y - dy
        total += map_coordinates(seen, [at_y + n // 2, at_x + n // 2], order=3)
        weight += transfer**2
    return np.asarray(irfft2(rfft2(total) / (weight + 0.05 * weight.mean()), (n, n)))


def disc(n: int, width: float) -> Array:
    c = np.arange(n) - n // 2
    r = np.hypot(c[:, None], c[None, :])
    return np.asarray(np.clip((0.5 * width + 3 - r) / 3, 0, 1))


def ring_correlation(a: Array, b: Array) -> Array:
    n = a.shape[0]
    fa, fb = np.fft.fft2(a), np.fft.fft2(b)
    k = np.fft.fftfreq(n) * n
    ring = np.rint(np.hypot(k[:, None], k[None, :])).astype(int).ravel()

    def sums(values: Array) -> Array:
        return np.bincount(ring, values.ravel())[: n // 2]

    cross = sums(np.real(fa * fb.conj()))
    return np.asarray(cross / np.sqrt(sums(abs(fa) ** 2) * sums(abs(fb) ** 2)))


def crossing(curve: Array, size: float, threshold: float) -> float:
    """Return A at the first of two rings in a row below the threshold."""
    low = curve < threshold
    below = np.flatnonzero(low[2:-1] & low[3:])
    n = 2 * len(curve)
    if not below.size:
        return 2 * size
    i = int(below[0]) + 2
    high = curve[i - 1]
    return n * size / (i - 1 + (high - threshold) / max(high - curve[i], 1e-9))


def summary(name: str, rows: list[tuple[int, float, float]], total: int, use: dict[str, float],
            note: str = "") -> None:  # fmt: skip
    few = 0.005 * total
    many = [r for r in rows if r[0] >= few]
    sizes = sorted((r[0] for r in rows), reverse=True)
    weighted = [r[1] for r in many for _ in range(r[0])]
    print(f"{name:26s} {use['wall']:7.1f} s {use['cpu']:8.1f} CPU s  populated {len(many):3d}  "
          f"largest {100 * sizes[0] / total:4.1f} %  median {np.median([r[1] for r in many]):5.2f} "
          f"A (0.143) {np.median([r[2] for r in many]):5.2f} A (0.5)  by particle "
          f"{np.median(weighted):5.2f} A {note}", flush=True)  # fmt: skip


# -- real particles -------------------------------------------------------------------------------


def apoferritin(data: Path, work: Path) -> Path:
    """Extract the marked particles, once; return their STAR."""
    star = work / "ex" / "particles.star"
    if star.is_file():
        return star
    (work / "mics").mkdir(parents=True, exist_ok=True)
    folder = data / "apoferritin-10146"
    with (folder / "ctf_reference.csv").open() as handle:
        fits = {r["micrograph"]: r for r in csv.DictReader(handle) if "4.1.14" in r["program"]}
    rows, listed = [], []
    for path in sorted(folder.glob("*.png")):
        name = f"mics/{path.stem}"
        write_mrc(work / f"{name}.mrc", read_image(path).data.astype(np.float32), 1.5)
        with path.with_name(f"{path.stem}.particles.csv").open() as handle:
            xy = np.array([(float(r["x"]), float(r["y"])) for r in csv.DictReader(handle)])
        columns = {"rlnCoordinateX": xy[:, 0], "rlnCoordinateY": xy[:, 1]}
        write_star(work / f"{name}_picks.star", {"": StarTable(columns)})
        listed.append((f"{name}.mrc", f"{name}_picks.star"))
        fit = fits[path.stem]
        rows.append({
            "rlnMicrographName": f"{name}.mrc", "rlnOpticsGroup": 1,
            "rlnDefocusU": float(fit["defocus_u_A"]), "rlnDefocusV": float(fit["defocus_v_A"]),
            "rlnDefocusAngle": float(fit["astigmatism_angle_deg"]),
        })  # fmt: skip
    optics = OpticsGroup(300.0, 0.0, 0.07, 1.5, 1.5)
    blocks = {"optics": optics_table([optics]), "micrographs": StarTable.from_rows(rows)}
    write_star(work / "micrographs_ctf.star", blocks)
    write_star(work / "picks.star", coordinate_files(listed))
    subprocess.run(
        [sys.executable, "-m", "icefloe", "extract", "micrographs_ctf.star", "--picks",
         "picks.star", "--box", "128", "--bin-to", "3", "--background-diameter", "150", "--out",
         "ex", "--device", "cpu"], cwd=work, check=True, capture_output=True,
    )  # fmt: skip
    return star


def relion(work: Path, iterations: int, limit: float) -> dict[str, float] | None:
    """Run RELION, or go on from its last iteration, for at most `limit` seconds."""
    if shutil.which("relion_refine") is None:
        return None
    folder = work / "relion"
    folder.mkdir(exist_ok=True)
    done = sorted(folder.glob("run_it*_optimiser.star"))
    last = int(done[-1].name[6:9]) if done else 0
    spent = folder / "cpu.csv"
    if last < iterations:
        shared = ["--pool", "30", "--j", "2", "--preread_images",
                  "--dont_combine_weights_via_disc"]  # fmt: skip
        command = ["relion_refine", "--o", "relion/run", "--iter", str(iterations), *shared]
        if last:
            command += ["--continue", str(done[-1].relative_to(work))]
        else:
            command += [
                "--i", "ex/particles.star", "--particle_diameter", str(MASK), "--K", str(K),
                "--tau2_fudge", "2", "--ctf", "--psi_step", "12", "--offset_range", "5",
                "--offset_step", "2", "--oversampling", "1", "--norm", "--scale", "--zero_mask",
                "--flatten_solvent", "--pad", "2", "--random_seed", "1",
            ]  # fmt: skip
        begin = time.perf_counter()
        before = os.times()
        process = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        after = os.times()
        cpu = (after.children_user - before.children_user
               + after.children_system - before.children_system)  # fmt: skip
        with spent.open("a") as handle:
            handle.write(f"{time.perf_counter() - begin},{cpu}\n")
    rows = [list(map(float, line.split(","))) for line in spent.read_text().split()]
    done = sorted(folder.glob("run_it*_data.star"))
    return {
        "wall": sum(r[0] for r in rows),
        "cpu": sum(r[1] for r in rows),
        "iteration": int(done[-1].name[6:9]),
    }


def real(data: Path, work: Path, iterations: int, limit: float, threads: int) -> None:
    star = apoferritin(data, work)
    n = len(read_star(star)["particles"])
    print(f"{n} marked apoferritin particles, 64 px of 3 A, K = {K}")
    use = measured(
        [sys.executable, "-m", "icefloe", "classify", "ex/particles.star", "--classes", str(K),
         "--diameter", str(DIAMETER), "--out", "icefloe", "--device", "cpu", "--threads",
         str(threads)], work, threads,
    )  # fmt: skip
    rows = half_resolutions(work / "icefloe" / "run_data.star", work, DIAMETER)
    summary("icefloe classify", rows, n, use, f"peak {use['memory']:.2f} GB")
    theirs = relion(work, iterations, limit)
    if theirs is None:
        print("relion_refine is not installed")
        return
    it = int(theirs["iteration"])
    rows = half_resolutions(work / "relion" / f"run_it{it:03d}_data.star", work, DIAMETER)
    summary(f"relion_refine, it. {it}", rows, n, theirs)


# -- simulated particles --------------------------------------------------------------------------


def simulate(model: Path, n: int, box: int, pixel: float, views: int, snr: float, seed: int = 0,
             junk: float = 0.0) -> dict[str, Any]:  # fmt: skip
    """Return particles of known view, angle and place; the last `junk` part is none.

    SNR is the variance of the signal, CTF applied, over that of the noise, in the whole box.
    """
    rng = np.random.default_rng(seed)
    if model.suffix == ".gz":
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / model.stem
            plain.write_bytes(gzip.decompress(model.read_bytes()))
            particle = load_particle(str(plain))
    else:
        particle = load_particle(str(model))
    directions = even_directions(views)
    view, psi = rng.integers(views, size=n), rng.uniform(0, 360, n)
    place = rng.uniform(-10, 10, (n, 2))
    images, ctfs = np.empty((n, box, box), np.float32), []
    for i in range(n):
        polar, azimuth = directions[view[i]]
        # RELION's psi turns the other way than ours.
        matrix = euler_matrices((azimuth, polar, -psi[i]))
        at = (particle.atoms @ matrix.T)[:, :2] / pixel + box // 2 + place[i, ::-1] / pixel
        clean = deposit(at, particle.weights, box)
        if i >= n * (1 - junk):
            blobs = rng.normal(size=(box, box))
            clean = gaussian_filter(blobs, rng.uniform(1, 6) * 4 / pixel) * disc(box, 100 / pixel)
            clean *= 3 / max(float(clean.std()), 1e-9)
        middle, half = rng.uniform(10000, 25000), 0.5 * rng.uniform(0, 300)
        ctf = CtfParameters(middle + half, middle - half, float(rng.uniform(-90, 90)))
        ctfs.append(ctf)
        clean = gaussian_filter(clean, 3.4 / pixel)
        images[i] = irfft2(rfft2(clean) * -ctf_2d(ctf, (box, box), pixel), (box, box))
    good = round(n * (1 - junk))
    signal = images[:good].var(axis=(1, 2)).mean()
    if junk:
        images[good:] *= np.sqrt(2 * signal / images[good:].var(axis=(1, 2)))[:, None, None]
    images *= np.float32(np.sqrt(snr / signal))
    images += rng.standard_normal(images.shape, dtype=np.float32)
    return {"images": images, "ctf": ctfs, "view": view, "psi": psi, "place": place,
            "pixel": pixel, "diameter": particle.diameter, "good": good}  # fmt: skip


def deposit(at: Array, weights: Array, box: int) -> Array:
    """Return points (n, 2), x and y in pixels, on a grid, shared by four pixels each."""
    low = np.floor(at).astype(int)
    part = at - low
    image = np.zeros(box * box)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = abs(1 - dx - part[:, 0]) * abs(1 - dy - part[:, 1]) * weights
        x, y = low[:, 0] + dx, low[:, 1] + dy
        inside = (x >= 0) & (x < box) & (y >= 0) & (y < box)
        image += np.bincount((y * box + x)[inside], share[inside], box * box)
    return image.reshape(box, box)


# In-plane symmetry of GroEL's projections: 7-fold from above, none or 2-fold from the side.
_FOLDS = (1, 2, 7)


def judge(truth: dict[str, Any], classes: Array, psi: Array, place: Array) -> dict[str, float]:
    """Return purity by view, and median errors up to each class's own turn and shift."""
    view, good = truth["view"].copy(), truth["good"]
    view[good:] = view.max() + 1
    known = classes >= 0
    table = np.zeros((classes.max() + 1, view.max() + 1), int)
    np.add.at(table, (classes[known], view[known]), 1)
    angles, shifts = [], []
    for k in range(len(table)):
        main = int(table[k].argmax())
        members = np.flatnonzero((classes == k) & (view == main) & (np.arange(len(view)) < good))
        if len(members) < 5:
            continue
        d = np.deg2rad(psi[members] - truth["psi"][members])
        errors = []
        for fold in _FOLDS:
            off = np.angle(np.exp(1j * fold * d).mean())
            e = np.abs(np.rad2deg(np.angle(np.exp(1j * (fold * d - off))))) / fold
            errors.append((float(np.median(e)) * fold, e))
        best = min(errors, key=lambda pair: pair[0])[1]
        angles.append(best)
        rest = place[members] - truth["place"][members]
        c, s = np.cos(np.deg2rad(psi[members])), np.sin(np.deg2rad(psi[members]))
        own = np.stack([c * rest[:, 0] - s * rest[:, 1], s * rest[:, 0] + c * rest[:, 1]], 1)
        shifts.append(np.hypot(*(own - np.median(own, axis=0)).T))
    sizes = table.sum(axis=1)
    return {
        "purity": table.max(axis=1).sum() / table.sum(),
        "views": len({int(row.argmax()) for row in table}),
        "angle": float(np.median(np.concatenate(angles))),
        "shift": float(np.median(np.concatenate(shifts))),
        "populated": int((sizes >= 0.005 * table.sum()).sum()),
        "largest": float(sizes.max() / table.sum()),
    }


def line(name: str, found: dict[str, float], cpu: float, wall: float) -> None:
    print(f"{name:34s} purity {found['purity']:.3f}  views {found['views']:3.0f}  angle "
          f"{found['angle']:5.2f} deg  shift {found['shift']:5.2f} A  populated "
          f"{found['populated']:3.0f}  largest {100 * found['largest']:4.1f} %  {wall:6.1f} s "
          f"{cpu:6.1f} CPU s", flush=True)  # fmt: skip


def run_ours(name: str, truth: dict[str, Any], use_ctf: bool = True, **choices: Any) -> Any:
    settings = ClassifySettings(
        **{"classes": truth.get("classes", K), "diameter": truth["diameter"], **choices}
    )
    wall, cpu = time.perf_counter(), time.process_time()
    found = classify_particles(truth["images"], truth["ctf"] if use_ctf else None,
                               pixel_size=truth["pixel"], settings=settings)  # fmt: skip
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    line(name, judge(truth, found.classes, found.psi, found.place), cpu, wall)
    return found


def groel(data: Path) -> Path:
    return data / "models" / "groel_1mnf.pdb.gz"


def simulated(data: Path, particles: int, snrs: list[float], iterations: int, limit: float,
              work: Path, seeds: int, classes: int, field: int) -> None:  # fmt: skip
    for snr in snrs:
        truth = simulate(groel(data), particles, 64, 4.0, 10, snr, field) | {"classes": classes}
        print(f"GroEL, {particles} particles ({field}), 64 px of 4 A, 10 views, SNR {snr}, "
              f"K = {classes}")  # fmt: skip
        for seed in range(seeds):
            run_ours(f"icefloe, seed {seed}", truth, seed=seed)
        if iterations:
            relion_simulated(truth, work / f"sim-{snr}-{field}", iterations, limit)


def relion_simulated(truth: dict[str, Any], folder: Path, iterations: int, limit: float) -> None:
    """Run RELION on simulated particles and judge it in the same way."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "relion").mkdir(parents=True)
    n = len(truth["images"])
    write_mrc(folder / "particles.mrcs", truth["images"], truth["pixel"])
    optics = optics_table([OpticsGroup(300.0, 2.7, 0.1, 4.0, 4.0)], image_pixel_size=4.0,
                          image_size=64)  # fmt: skip
    columns = {
        "rlnImageName": np.array([f"{i + 1:06d}@particles.mrcs" for i in range(n)], object),
        "rlnMicrographName": np.array(["m.mrc"] * n, object),
        "rlnOpticsGroup": np.ones(n, int),
        "rlnDefocusU": np.array([c.defocus_u for c in truth["ctf"]]),
        "rlnDefocusV": np.array([c.defocus_v for c in truth["ctf"]]),
        "rlnDefocusAngle": np.array([c.defocus_angle for c in truth["ctf"]]),
    }
    write_star(folder / "particles.star", {"optics": optics, "particles": StarTable(columns)})
    command = [
        "relion_refine", "--o", "relion/run", "--i", "particles.star", "--particle_diameter",
        str(1.15 * truth["diameter"]), "--K", str(truth.get("classes", K)),
        "--iter", str(iterations), "--tau2_fudge",
        "2", "--ctf", "--psi_step", "12", "--offset_range", "5", "--offset_step", "2",
        "--oversampling", "1", "--norm", "--scale", "--zero_mask", "--flatten_solvent", "--pad",
        "2", "--pool", "30", "--j", "2", "--preread_images", "--dont_combine_weights_via_disc",
        "--random_seed", "1",
    ]  # fmt: skip
    before, begin = os.times(), time.perf_counter()
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=folder, timeout=limit, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)  # fmt: skip
    after = os.times()
    done = sorted((folder / "relion").glob("run_it*_data.star"))
    table = read_star(done[-1])["particles"]
    order = [int(name.split("@")[0]) - 1 for name in table["rlnImageName"].astype(str)]
    classes, psi, place = np.zeros(n, int), np.zeros(n), np.zeros((n, 2))
    classes[order] = np.asarray(table["rlnClassNumber"]).astype(int) - 1
    psi[order] = -np.asarray(table["rlnAnglePsi"], float)
    for axis, name in enumerate("YX"):
        place[order, axis] = -np.asarray(table[f"rlnOrigin{name}Angst"], float)
    line(f"relion_refine, it. {done[-1].name[6:9]}", judge(truth, classes, psi, place),
         after.children_user - before.children_user, time.perf_counter() - begin)  # fmt: skip


def choices(data: Path) -> None:
    """Compare what was tried."""
    from icefloe.classes import loop

    truth = simulate(groel(data), 3000, 64, 4.0, 10, 0.05)
    for seed in (0, 1):
        run_ours("as it is", truth, seed=seed)
        run_ours("CTF by its signs", truth, seed=seed, ctf="flip")
        run_ours("no CTF", truth, seed=seed, ctf="none")
        limited = loop.balanced_classes
        loop.balanced_classes = lambda score, _: score.argmax(axis=1)
        run_ours("no limit to a class", truth, seed=seed)
        loop.balanced_classes = limited
        run_ours("start at 12 A", truth, seed=seed, start_resolution=12)
        usual = loop._JOIN
        loop._JOIN = 1e-3
        run_ours("both halves at all frequencies", truth, seed=seed)
        loop._JOIN = usual
    direct_and_polar(truth)


def direct_and_polar(truth: dict[str, Any]) -> None:
    """Time one comparison of 1,000 particles with 20 classes, 13 shifts, 72 angles, two ways."""
    from icefloe.classes.basis import Harmonics, soft_mask
    from icefloe.classes.scoring import Templates, best_scores

    rng = np.random.default_rng(0)
    images = truth["images"][:1000]
    n, angles = 64, 72
    basis = Harmonics.make(n, 40.0, 4.0 / 12)
    y = basis.project(images)
    rows = rng.standard_normal((20, 13, basis.orders, 2, basis.n_rings)).astype(np.float32)
    templates = Templates(rows, np.ones((20, basis.n_rings), np.float32))
    ones = np.ones((1000, basis.n_rings), np.float32)
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    half = rfft2(images * soft_mask(n, 40.0, 3.0))[:, k < 4.0 / 12]
    flat = np.concatenate([half.real, half.imag], axis=1)
    bank = rng.standard_normal((20 * 13 * angles, flat.shape[1])).astype(np.float32)
    for name, work in (
        ("harmonics", lambda: best_scores(y, ones, templates, basis.angle_matrix(angles))),
        ("all turned templates", lambda: [(bank[j : j + 1872] @ flat.T).max(axis=0)
                                          for j in range(0, len(bank), 1872)]),
    ):  # fmt: skip
        used = []
        for _ in range(3):
            start = time.process_time()
            work()
            used.append(time.process_time() - start)
        print(f"{name}: {min(used):.2f} CPU s", flush=True)


def speed(data: Path) -> None:
    truth = simulate(groel(data), 500, 64, 4.0, 10, 0.05)
    rng = np.random.default_rng(1)
    twenty = {**truth, "ctf": truth["ctf"] * 20}
    for name in ("view", "psi", "place"):
        twenty[name] = np.concatenate([truth[name]] * 20)
    images = np.concatenate([truth["images"]] * 20)
    images += 0.5 * rng.standard_normal(images.shape, dtype=np.float32)
    twenty |= {"images": images, "good": 10000}
    run_ours("10,000 particles, 50 classes", twenty, classes=50)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["real", "simulated", "speed", "choices"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "classes")
    parser.add_argument("--relion-iterations", type=int, default=25)
    parser.add_argument("--limit", type=float, default=580.0, help="Seconds for RELION, a call.")
    parser.add_argument("--particles", type=int, default=3000)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.1, 0.05, 0.02])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--particle-seed", type=int, default=0, help="Of the simulated particles.")
    parser.add_argument("--classes", type=int, default=K, help="Of the simulated particles.")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.what == "real":
        real(given.data, given.work, given.relion_iterations, given.limit, given.threads)
    elif given.what == "simulated":
        simulated(given.data, given.particles, given.snr, given.relion_iterations, given.limit,
                  given.work, given.seeds, given.classes, given.particle_seed)  # fmt: skip
    elif given.what == "speed":
        speed(given.data)
    else:
        choices(given.data)


if __name__ == "__main__":
    main()
