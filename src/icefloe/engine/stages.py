"""The stages of a session: each reads what it needs, calls one function and names its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.engine.preview import micrograph_preview, spectrum_preview, write_png
from icefloe.engine.source import Source, open_source, read_frames, read_micrograph
from icefloe.engine.stage import Outcome, Output, Stage, StopRunError, Work
from icefloe.errors import MissingMetadataError, OutputError

if TYPE_CHECKING:
    from icefloe.engine.session import Session

__all__ = ["STANDARD_STAGES"]

# Keys of the arrays that an exposure carries from stage to stage.
_SOURCE, _FRAMES, _IMAGE, _SPECTRUM = "source", "frames", "image", "spectrum"


class ImportStage:
    """Looks into the file; gives a finished micrograph the form that other programs read."""

    name = "import"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ()

    def choices(self, session: Session) -> Mapping[str, Any]:
        keys = ("pixel_size", "eer_upsampling", "eer_frames_per_fraction")
        facts = session.facts()
        return {**{k: facts[k] for k in keys}, "float16": session.settings.output.float16}

    def prefetch(self, work: Work) -> None:
        work.numbers[self.name] = _import_numbers(work)
        if work.numbers[self.name]["kind"] == "micrograph":
            _image(work)

    def run(self, work: Work) -> Outcome:
        numbers = _import_numbers(work)
        if numbers["pixel_size"] is None:
            raise MissingMetadataError(
                f"The pixel size of {work.source} is not known: its header has none",
                hint="Give --pixel-size, or set data.pixel_size in icefloe.toml",
            )
        if numbers["kind"] == "movie":
            return Outcome(numbers)
        image = _image(work)
        target = f"micrographs/{work.name}.mrc"
        if _source(work).is_plain_mrc:
            listed = Output("micrograph", target, partial(_link, work.source))
        else:
            write = partial(_write_mrc, work, image, numbers["pixel_size"])
            listed = Output("micrograph", target, write)
        return Outcome(numbers, (listed, _preview(work, image, numbers["pixel_size"])))


class MotionStage:
    """Aligns and sums the frames of a movie."""

    name = "motion"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ("import",) if kind == "movie" else None

    def choices(self, session: Session) -> Mapping[str, Any]:
        facts = session.facts()
        keys = ("voltage", "dose_per_frame", "total_dose", "gain_rotate", "gain_flip")
        return {
            **{k: facts[k] for k in keys},
            "gain": session.identity(facts["gain"]),
            "defects": session.identity(facts["defects"]),
            "motion": session.settings.motion.model_dump(mode="json"),
            "output": session.settings.output.model_dump(mode="json"),
        }

    def prefetch(self, work: Work) -> None:
        _frames(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.formats.gain import fit_gain
        from icefloe.motion import correct_motion

        session = work.session
        numbers = work.numbers["import"]
        factors = [float(f) for f in numbers["frame_dose_factors"]]
        shape = (int(numbers["shape"][0]), int(numbers["shape"][1]))
        dose = _dose_per_frame(work, factors)
        gain, notice = session.gain(for_eer=numbers["format"] == "eer"), None
        if gain is not None:
            gain, notice = fit_gain(gain, shape)
        result = correct_motion(
            _frames(work),
            pixel_size=numbers["pixel_size"],
            dose_per_frame=dose,
            voltage=session.settings.data.voltage,
            gain=gain,
            defects=session.defects(shape),
            frame_dose_factors=np.asarray(factors),
            settings=session.settings.motion,
            device=session.device,
            name=work.name,
        )
        work.drop(_FRAMES)
        image = _stored(work, result.micrograph)
        spectrum = np.asarray(result.power_spectrum, dtype=np.float32)
        work.keep(_IMAGE, image)
        work.keep(_SPECTRUM, spectrum)
        size = float(result.pixel_size)
        outputs = [_mrc(work, "micrograph", ".mrc", image, size)]
        if session.settings.output.unweighted and session.settings.motion.dose_weighting:
            outputs.append(_mrc(work, "unweighted", "_noDW.mrc", result.plain, size))
        for role, suffix, half in (
            ("even", "_EVN.mrc", result.even),
            ("odd", "_ODD.mrc", result.odd),
        ):
            if half is not None:
                outputs.append(_mrc(work, role, suffix, half, size))
        outputs.append(
            _mrc(
                work,
                "power_spectrum",
                "_PS.mrc",
                spectrum,
                float(result.power_spectrum_pixel_size),
                float16=False,
            )
        )
        outputs.append(_preview(work, image, size))
        flags = (*result.flags, *((notice,) if notice else ()))
        return Outcome(result.numbers(), tuple(outputs), flags)


class CtfStage:
    """Fits the CTF, to the aligned frame groups' spectrum or to a finished micrograph."""

    name = "ctf"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ("motion",) if kind == "movie" else ("import",)

    def choices(self, session: Session) -> Mapping[str, Any]:
        facts = session.facts()
        return {
            **{k: facts[k] for k in ("voltage", "cs", "amplitude_contrast")},
            "ctf": session.settings.ctf.model_dump(mode="json"),
        }

    def prefetch(self, work: Work) -> None:
        if work.numbers.get("import", {}).get("kind") == "micrograph":
            _image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.ctf import estimate_ctf, estimate_ctf_from_spectrum
        from icefloe.interop.relion_ctf import ctffind_avrot_text, ctffind_text

        data, settings = work.session.settings.data, work.session.settings.ctf
        optics: dict[str, Any] = {
            "voltage": data.voltage,
            "cs": data.cs,
            "amplitude_contrast": data.amplitude_contrast,
            "settings": settings,
        }
        if work.numbers["import"]["kind"] == "movie":
            size = work.numbers["motion"]["power_spectrum_pixel_size"]
            result = estimate_ctf_from_spectrum(_spectrum(work), pixel_size=size, **optics)
        else:
            size = work.numbers["import"]["pixel_size"]
            device = work.session.device
            result = estimate_ctf(_image(work), pixel_size=size, device=device, **optics)
        numbers = result.numbers()
        diagnostic = np.asarray(result.diagnostic, dtype=np.float32)
        micrograph = f"micrographs/{work.name}.mrc"
        outputs = (
            _mrc(work, "diagnostic", ".ctf", diagnostic, numbers["spectrum_pixel_size"], False),
            Output(
                "text",
                f"micrographs/{work.name}_ctf.txt",
                partial(_write_text, ctffind_text(numbers, micrograph, settings)),
            ),
            Output(
                "curves",
                f"micrographs/{work.name}_ctf_avrot.txt",
                partial(_write_text, ctffind_avrot_text(numbers, micrograph, settings)),
            ),
            _picture(work, "ctf.png", spectrum_preview(diagnostic)),
        )
        return Outcome(numbers, outputs, tuple(result.flags))


class PickStage:
    """Finds particles."""

    name = "pick"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        if session.settings.pick.diameter is None:
            return None
        return ("motion",) if kind == "movie" else ("import",)

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {"pick": session.settings.pick.model_dump(mode="json")}

    def prefetch(self, work: Work) -> None:
        _prefetch_image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.formats.star import write_star
        from icefloe.interop.relion_picks import picks_star
        from icefloe.picking import pick_blobs

        result = pick_blobs(
            _image(work),
            pixel_size=_pixel_size(work),
            settings=work.session.settings.pick,
            device=work.session.device,
        )
        numbers = result.numbers()
        star = Output(
            "picks",
            f"picks/{work.name}_picks.star",
            lambda path: write_star(path, picks_star(numbers)),
        )
        return Outcome(numbers, (star,), tuple(result.flags))


class ExtractStage:
    """Cuts out the picked particles."""

    name = "extract"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ("pick",) if session.settings.pick.diameter is not None else None

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {
            "extract": session.settings.extract.model_dump(mode="json"),
            "voltage": session.settings.data.voltage,
            "float16": session.settings.output.float16,
        }

    def prefetch(self, work: Work) -> None:
        _prefetch_image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.extraction import choose_box, extract_particles

        picks = work.numbers["pick"]
        pixel_size = _pixel_size(work)
        settings = work.session.settings.extract
        box = choose_box(
            settings,
            pixel_size=pixel_size,
            diameter=picks["diameter_max"],
            voltage=work.session.settings.data.voltage,
        )
        result = extract_particles(
            _image(work),
            np.asarray(picks["y"], dtype=np.float64),
            np.asarray(picks["x"], dtype=np.float64),
            pixel_size=pixel_size,
            settings=settings.model_copy(update={"box": box}),
            device=work.session.device,
        )
        outputs: tuple[Output, ...] = ()
        if len(result.images):
            write = partial(_write_mrc, work, result.images, float(result.pixel_size))
            outputs = (Output("particles", f"particles/{work.name}.mrcs", write),)
        return Outcome(result.numbers(), outputs, tuple(result.flags))


STANDARD_STAGES: tuple[Stage, ...] = (
    ImportStage(),
    MotionStage(),
    CtfStage(),
    PickStage(),
    ExtractStage(),
)


def _source(work: Work) -> Source:
    return work.once(_SOURCE, lambda: open_source(work.source, work.session.settings.data))


def _import_numbers(work: Work) -> dict[str, Any]:
    source = _source(work)
    given = work.session.settings.data.pixel_size
    return {
        "kind": source.kind,
        "format": source.form,
        "pixel_size": given if given is not None else source.pixel_size,
        "header_pixel_size": source.pixel_size,
        "shape": list(source.shape),
        "n_frames": source.n_frames,
        "frame_dose_factors": list(source.frame_dose_factors),
    }


def _frames(work: Work) -> list[AnyArray]:
    data = work.session.settings.data
    return work.once(_FRAMES, lambda: read_frames(work.source, data))


def _image(work: Work) -> FloatArray:
    """Return the micrograph that later stages work on, exactly as its file has it."""

    def read() -> FloatArray:
        if work.numbers["import"]["kind"] == "movie":
            return read_micrograph(work.session.project.micrographs / f"{work.name}.mrc")
        image = read_micrograph(work.source)
        return image if _source(work).is_plain_mrc else _stored(work, image)

    return work.once(_IMAGE, read)


def _prefetch_image(work: Work) -> None:
    # A movie's micrograph may be about to be made again; it is read when it is asked for.
    if work.numbers.get("import", {}).get("kind") == "micrograph":
        _image(work)


def _spectrum(work: Work) -> FloatArray:
    path = work.session.project.micrographs / f"{work.name}_PS.mrc"
    return work.once(_SPECTRUM, lambda: read_micrograph(path))


def _stored(work: Work, image: FloatArray) -> FloatArray:
    """Return the image with the precision that its file keeps.

    Later stages then see the same numbers in the run that makes the file and in one that reads it.
    """
    image = np.asarray(image, dtype=np.float32)
    if work.session.settings.output.float16:
        return np.asarray(image.astype(np.float16), dtype=np.float32)
    return image


def _pixel_size(work: Work) -> float:
    stage = "motion" if work.numbers["import"]["kind"] == "movie" else "import"
    return float(work.numbers[stage]["pixel_size"])


def _dose_per_frame(work: Work, factors: list[float]) -> float:
    data = work.session.settings.data
    if data.dose_per_frame is not None:
        return data.dose_per_frame
    if data.total_dose is not None:
        return data.total_dose / sum(factors)
    error = MissingMetadataError(
        f"The dose of {work.source} is not known, and dose weighting needs it",
        "electrons per A^2",
        "Give --dose-per-frame or --total-dose",
    )
    raise StopRunError(str(error)) from error


def _mrc(
    work: Work,
    role: str,
    suffix: str,
    image: FloatArray,
    pixel_size: float,
    float16: bool | None = None,
) -> Output:
    write = partial(_write_mrc, work, image, pixel_size, float16=float16)
    return Output(role, f"micrographs/{work.name}{suffix}", write)


def _write_mrc(
    work: Work, image: FloatArray, pixel_size: float, path: Path, *, float16: bool | None = None
) -> None:
    from icefloe.formats.mrc import write_mrc

    half = work.session.settings.output.float16 if float16 is None else float16
    write_mrc(path, np.asarray(image, dtype=np.float32), pixel_size, float16=half)


def _write_text(text: str, path: Path) -> None:
    from icefloe.formats.atomic import write_text

    write_text(path, text)


def _link(source: Path, path: Path) -> None:
    """Make `path` a symbolic link to the micrograph, which needs no copy."""
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(source.absolute())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be made a link ({error.strerror or error})") from error


def _preview(work: Work, image: FloatArray, pixel_size: float) -> Output:
    return _picture(work, "micrograph.png", micrograph_preview(image, pixel_size))


def _picture(work: Work, file: str, picture: AnyArray) -> Output:
    return Output("preview", f"exposures/{work.name}/{file}", lambda path: write_png(path, picture))
