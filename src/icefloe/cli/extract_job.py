"""One micrograph of `icefloe extract`: read, cut, write."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icefloe._types import AnyArray
    from icefloe.cli.extract_inputs import Picked
    from icefloe.extraction import ExtractSettings, ParticleStack
    from icefloe.optics import CtfParameters

__all__ = ["Extractor", "Written", "read_ahead"]

_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@dataclass(frozen=True)
class Written:
    """Particles of one micrograph of a shape: their images, and their rows in the lists."""

    stack: ParticleStack
    columns: dict[str, AnyArray]
    small: dict[str, AnyArray] | None
    shape: tuple[int, int]


def read_ahead(
    items: Sequence[Picked], pool: ThreadPoolExecutor
) -> Iterator[tuple[Picked, Future[AnyArray]]]:
    """Yield each micrograph with its image, while the next one is being read."""
    futures: list[Future[AnyArray]] = []
    # The image in work and the next one: fresh memory for each costs more than reading it.
    buffers: dict[int, AnyArray] = {}
    for i, item in enumerate(items):
        for following in range(i + len(futures), min(i + 2, len(items))):
            path = items[following].micrograph.path
            futures += [pool.submit(_read, path, buffers, following % 2)]
        yield item, futures.pop(0)


def _read(path: Path, buffers: dict[int, AnyArray], slot: int) -> AnyArray:
    from icefloe.formats.image import read_image
    from icefloe.formats.movie import file_kind
    from icefloe.formats.mrc import MrcReader

    if file_kind(path) != "mrc":
        return read_image(path).data
    reader = MrcReader(path)
    try:
        if reader.count != 1 or reader.dtype != np.float32:
            return read_image(path).data
        if slot not in buffers or buffers[slot].shape != reader.shape:
            buffers[slot] = np.empty(reader.shape, np.float32)
        reader.read_into(0, buffers[slot])
        return buffers[slot]
    finally:
        reader.close()


class Extractor:
    """Cuts out one micrograph's particles, and writes them while the next ones are cut.

    Parameters
    ----------
    stacks
        Directory of the stacks.
    settings
        Sizes and what is done to the grey levels.
    diameter
        Longest particle diameter, A, for an automatic box.
    min_score
        Picks below are left out; those without a score stay.
    float16
        Write half-precision stacks.
    device
        Of the extraction.
    pool
        A thread that writes.
    """

    def __init__(
        self,
        stacks: Path,
        settings: ExtractSettings,
        *,
        diameter: float | None,
        min_score: float | None,
        float16: bool,
        device: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._stacks, self._settings, self._diameter = stacks, settings, diameter
        self._min_score, self._float16, self._device = min_score, float16, device
        self._pool = pool
        self._writing: list[Future[None]] = []

    def __call__(self, item: Picked, image: AnyArray) -> Written:
        """Extract one micrograph.

        Raises
        ------
        IcefloeError
        """
        from icefloe.cli.ctf_local import read_local
        from icefloe.extraction import extract_particles
        from icefloe.interop.relion_reextract import ORIGINS, moved

        picks = item.picks()
        chosen = np.ones(len(picks.y), dtype=np.bool_)
        if self._min_score is not None:
            chosen = ~(picks.score < self._min_score)
        y, x = picks.y[chosen], picks.x[chosen]
        columns = {name: np.asarray(values)[chosen] for name, values in picks.columns.items()}
        local = read_local(item.micrograph.listed("rlnCtfImage"))
        optics = item.micrograph.optics
        stack = extract_particles(
            image,
            y,
            x,
            pixel_size=optics.micrograph_pixel_size,
            diameter=self._diameter,
            voltage=optics.voltage,
            ctf=_parameters(item, columns, local, y, x) if self._settings.ctf != "none" else None,
            settings=self._settings,
            device=self._device,
        )
        numbers = stack.numbers()
        # Particles that were refined have a CTF each, and origins.
        own = all(name in columns for name in _DEFOCUS)
        earlier = {n: np.asarray(columns[n], np.float64)[stack.kept] for n in ORIGINS
                   if n in columns}  # fmt: skip
        name = item.micrograph.name
        rows = [
            moved(
                _columns(
                    item, numbers, self._write(stack_, file), columns, None if own else local, own
                ),
                earlier,
            )
            for stack_, file in ((stack, f"{name}.mrcs"), (stack.small, f"{name}_small.mrcs"))
            if stack_ is not None
        ]
        ny, nx = image.shape
        return Written(stack, rows[0], rows[1] if len(rows) > 1 else None, (ny, nx))

    def _write(self, stack: ParticleStack, file: str) -> str:
        from icefloe.formats.mrc import write_mrc

        path = self._stacks / file
        if len(stack):
            # Both sizes of one micrograph at most wait, so that memory stays bounded.
            while len(self._writing) > 1:
                self._writing.pop(0).result()
            self._writing.append(
                self._pool.submit(
                    write_mrc, path, stack.images, stack.pixel_size, float16=self._float16
                )
            )
        return str(path)

    def finish(self) -> None:
        """Wait until all is written.

        Raises
        ------
        OutputError
        """
        while self._writing:
            self._writing.pop(0).result()


def _columns(
    item: Picked,
    numbers: Mapping[str, Any],
    file: str,
    columns: Mapping[str, AnyArray],
    local: Mapping[str, Any] | None,
    own: bool,
) -> dict[str, AnyArray]:
    from icefloe.interop.relion_particles import particle_columns

    return particle_columns(
        numbers,
        stack_name=file,
        micrograph_name=item.listed_name,
        optics_group=item.micrograph.optics.number,
        ctf=None if own else item.ctf,
        local=local,
        extra=columns,
    )


def _parameters(
    item: Picked,
    columns: Mapping[str, AnyArray],
    local: Mapping[str, Any] | None,
    y: AnyArray,
    x: AnyArray,
) -> CtfParameters | list[CtfParameters] | None:
    """Return the CTF of each particle where they differ, else the micrograph's."""
    from icefloe.ctf import local_defocus
    from icefloe.optics import CtfParameters

    optics = item.micrograph.optics
    lens = (optics.voltage, optics.cs, optics.amplitude_contrast)
    shift = item.ctf["rlnPhaseShift"] if item.ctf else 0.0
    if all(name in columns for name in _DEFOCUS):
        u, v, angle = (np.asarray(columns[name], np.float64).tolist() for name in _DEFOCUS)
        shifts = np.asarray(columns.get("rlnPhaseShift", np.full(len(u), shift)), np.float64)
        rows = zip(u, v, angle, shifts.tolist(), strict=True)
        return [CtfParameters(a, b, c, *lens, s) for a, b, c, s in rows]
    if item.ctf is None:
        return None
    if local and local.get("used"):
        us, vs, azimuth = local_defocus(local, y, x)
        pairs = zip(us.tolist(), vs.tolist(), strict=True)
        return [CtfParameters(a, b, azimuth, *lens, shift) for a, b in pairs]
    u0, v0, angle0 = (item.ctf[name] for name in _DEFOCUS)
    return CtfParameters(u0, v0, angle0, *lens, shift)
