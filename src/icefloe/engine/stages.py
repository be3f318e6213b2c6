"""The stages of a session: each reads what it needs, calls one function and names its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe.engine.arrays import (
    FRAMES,
    IMAGE,
    SPECTRUM,
    as_stored,
    frames_of,
    image_of,
    import_numbers,
    source_of,
)
from icefloe.engine.micrograph_stages import MICROGRAPH_STAGES
from icefloe.engine.outputs import (
    link_output,
    mrc_output,
    picture_output,
    preview_output,
)
from icefloe.engine.stage import Outcome, Stage, StopRunError, Work
from icefloe.errors import MissingMetadataError

if TYPE_CHECKING:
    from icefloe.engine.session import Session

__all__ = ["STANDARD_STAGES"]


class ImportStage:
    """Looks into the file; gives a finished micrograph the form that other programs read."""

    name = "import"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ()

    def choices(self, session: Session) -> Mapping[str, Any]:
        facts = session.facts()
        keys = ["pixel_size", "eer_upsampling", "eer_frames_per_fraction", "eer_dose_per_fraction"]
        if facts["eer_dose_per_fraction"] is not None:
            keys.append("total_dose")
        return {**{k: facts[k] for k in keys}, "float16": session.settings.output.float16}

    def prefetch(self, work: Work) -> None:
        work.numbers[self.name] = import_numbers(work)
        if work.numbers[self.name]["kind"] == "micrograph":
            image_of(work)

    def run(self, work: Work) -> Outcome:
        numbers = import_numbers(work)
        if numbers["pixel_size"] is None:
            raise MissingMetadataError(
                f"The pixel size of {work.source} is not known: its header has none",
                hint="Give --pixel-size, or set data.pixel_size in icefloe.toml",
            )
        if numbers["kind"] == "movie":
            return Outcome(numbers)
        image, pixel_size = image_of(work), float(numbers["pixel_size"])
        target = f"micrographs/{work.name}.mrc"
        if source_of(work).is_plain_mrc:
            micrograph = link_output("micrograph", target, work.source)
        else:
            micrograph = mrc_output(work, "micrograph", target, image, pixel_size)
        return Outcome(numbers, (micrograph, preview_output(work, image, pixel_size)))


class MotionStage:
    """Aligns and sums the frames of a movie."""

    name = "motion"
    version = 2

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ("import",) if kind == "movie" else None

    def choices(self, session: Session) -> Mapping[str, Any]:
        facts = session.facts()
        keys = ("voltage", "dose_per_frame", "total_dose", "gain_rotate", "gain_flip")
        # Only where there is one: sessions of before keep their results.
        doses = {"dose_file": session.identity(facts["dose_file"])} if facts["dose_file"] else {}
        return {
            **{k: facts[k] for k in keys},
            **doses,
            "gain": session.identity(facts["gain"]),
            "defects": session.identity(facts["defects"]),
            "motion": session.settings.motion.model_dump(mode="json"),
            "output": session.settings.output.model_dump(mode="json", exclude={"min_free_gb"}),
        }

    def prefetch(self, work: Work) -> None:
        frames_of(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.engine.motion_view import motion_view
        from icefloe.formats.gain import fit_gain
        from icefloe.motion import correct_motion

        session = work.session
        numbers = work.numbers["import"]
        factors = [float(f) for f in numbers["frame_dose_factors"]]
        shape = (int(numbers["shape"][0]), int(numbers["shape"][1]))
        dose, factors = _doses(work, factors)
        gain, notice = session.gain(for_eer=numbers["format"] == "eer"), None
        if gain is not None:
            gain, notice = fit_gain(gain, shape)
        defects = session.defects(shape)
        result = correct_motion(
            frames_of(work),
            pixel_size=numbers["pixel_size"],
            dose_per_frame=dose,
            voltage=session.settings.data.voltage,
            gain=gain,
            defects=defects,
            frame_dose_factors=np.asarray(factors),
            settings=session.settings.motion,
            device=session.device,
            name=work.name,
        )
        view = motion_view(frames_of(work), result, gain=gain, defects=defects)
        work.drop(FRAMES)
        image = as_stored(work, result.micrograph)
        spectrum = np.asarray(result.power_spectrum, dtype=np.float32)
        work.keep(IMAGE, image)
        work.keep(SPECTRUM, spectrum)
        size = float(result.pixel_size)
        images = {"micrograph": (".mrc", image)}
        if session.settings.output.unweighted and session.settings.motion.dose_weighting:
            images["unweighted"] = ("_noDW.mrc", result.plain)
        if result.even is not None and result.odd is not None:
            images["even"] = ("_EVN.mrc", result.even)
            images["odd"] = ("_ODD.mrc", result.odd)
        base = f"micrographs/{work.name}"
        outputs = [
            mrc_output(work, role, f"{base}{suffix}", data, size)
            for role, (suffix, data) in images.items()
        ]
        spectrum_size = float(result.power_spectrum_pixel_size)
        outputs.append(
            mrc_output(
                work, "power_spectrum", f"{base}_PS.mrc", spectrum, spectrum_size, float16=False
            )
        )
        outputs.append(preview_output(work, image, size))
        outputs.append(picture_output(work, "motion.png", view.frames, role="frames"))
        outputs.append(picture_output(work, "motion_ps.png", view.spectra, role="spectra"))
        flags = (*result.flags, *((notice,) if notice else ()))
        return Outcome(result.numbers() | {"view": view.numbers}, tuple(outputs), flags)


STANDARD_STAGES: tuple[Stage, ...] = (ImportStage(), MotionStage(), *MICROGRAPH_STAGES)


def _doses(work: Work, factors: list[float]) -> tuple[float, list[float]]:
    # Dose of a frame, and of each relative to it.
    data = work.session.settings.data
    if data.dose_file is not None:
        from icefloe.formats.frame_doses import read_frame_doses

        doses = read_frame_doses(work.session.project.locate(data.dose_file), work.source)
        # RELION knows one dose for all frames.
        return float(doses.mean()), [float(d) for d in doses / doses.mean()]
    if data.dose_per_frame is not None:
        return data.dose_per_frame, factors
    if data.total_dose is not None:
        return data.total_dose / sum(factors), factors
    error = MissingMetadataError(
        f"The dose of {work.source} is not known, and dose weighting needs it",
        "electrons per A^2",
        "Give --dose-per-frame, --total-dose or data.dose_file",
    )
    raise StopRunError(str(error)) from error
