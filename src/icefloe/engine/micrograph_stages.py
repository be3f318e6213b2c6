"""The stages that see a micrograph, of a movie or as it came; see `icefloe.engine.stages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from icefloe.engine.arrays import (
    image_of,
    pixel_size_of,
    prefetch_image,
    spectrum_of,
)
from icefloe.engine.outputs import (
    mask_output,
    mrc_output,
    picture_output,
    text_output,
)
from icefloe.engine.picking import given_mask, pick_choices, uses_ctf
from icefloe.engine.stage import Outcome, Output, Stage, Work

if TYPE_CHECKING:
    from icefloe.engine.session import Session

__all__ = ["MICROGRAPH_STAGES"]


class CtfStage:
    """Fits the CTF, to the aligned frame groups' spectrum or to a finished micrograph."""

    name = "ctf"
    version = 2

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
            image_of(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.ctf import estimate_ctf, estimate_ctf_from_spectrum, further_numbers
        from icefloe.ctf.diagnostic import visible_part
        from icefloe.ctf.view import ctf_view
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
            result = estimate_ctf_from_spectrum(spectrum_of(work), pixel_size=size, **optics)
        else:
            size = work.numbers["import"]["pixel_size"]
            device = work.session.device
            result = estimate_ctf(image_of(work), pixel_size=size, device=device, **optics)
        result, further = further_numbers(
            result, image_of(work), pixel_size=pixel_size_of(work), settings=settings
        )
        numbers = result.numbers() | further
        diagnostic = np.asarray(result.diagnostic, dtype=np.float32)
        spectrum = result.spectrum
        view = ctf_view(spectrum, result.parameters, settings, fitted_to=result.fitted_to)
        part, view["edge"] = visible_part(diagnostic, spectrum.pixel_size, result.fit_resolution)
        numbers["view"] = view
        base = f"micrographs/{work.name}"
        text = ctffind_text(numbers, f"{base}.mrc", settings)
        curves = ctffind_avrot_text(numbers, f"{base}.mrc", settings)
        pixel_size = numbers["spectrum_pixel_size"]
        outputs = (
            mrc_output(work, "diagnostic", f"{base}.ctf", diagnostic, pixel_size, float16=False),
            text_output("text", f"{base}_ctf.txt", text),
            text_output("curves", f"{base}_ctf_avrot.txt", curves),
            picture_output(work, "ctf.png", np.rint(np.clip(part, 0, 1) * 255).astype(np.uint8)),
        )
        return Outcome(numbers, outputs, tuple(result.flags))


class LookStage:
    """Measures the micrograph itself: what a good CTF does not reveal."""

    name = "look"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        return ("motion",) if kind == "movie" else ("import",)

    def choices(self, session: Session) -> Mapping[str, Any]:
        return {}

    def prefetch(self, work: Work) -> None:
        prefetch_image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.curation.image_numbers import image_numbers

        spectrum, spectrum_size = None, None
        if work.numbers["import"]["kind"] == "movie":
            spectrum = spectrum_of(work)
            spectrum_size = float(work.numbers["motion"]["power_spectrum_pixel_size"])
        result = image_numbers(
            image_of(work),
            pixel_size=pixel_size_of(work),
            spectrum=spectrum,
            spectrum_pixel_size=spectrum_size,
        )
        return Outcome(result.numbers())


class PickStage:
    """Finds particles."""

    name = "pick"
    version = 2
    # Templates are matched as they are where there is no CTF to show them through.
    spares = ("ctf",)

    def awaits_reference(self, session: Session) -> bool:
        """Return whether it is left out only until the session's reference is made."""
        return session.uses_reference() and session.reference() is None

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        if session.stages_off():
            return None
        image = "motion" if kind == "movie" else "import"
        return (image, "ctf") if uses_ctf(session) else (image,)

    def choices(self, session: Session) -> Mapping[str, Any]:
        return pick_choices(session)

    def given(self, session: Session, name: str) -> Mapping[str, Any]:
        """Return the identity of the mask that a person made for an exposure."""
        found = given_mask(session, name)
        return {} if found is None else {"mask": session.identity(session.project.listed(found))}

    def prefetch(self, work: Work) -> None:
        prefetch_image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.engine.pick_candidates import CANDIDATES
        from icefloe.engine.picking import pick_exposure
        from icefloe.formats.atomic import write_bytes
        from icefloe.formats.star import write_star
        from icefloe.interop.relion_picks import picks_star

        found = pick_exposure(work)
        numbers = found.numbers
        star = Output(
            "picks",
            f"picks/{work.name}_picks.star",
            lambda path: write_star(path, picks_star(numbers)),
        )
        outputs: tuple[Output, ...] = (star,)
        if found.mask is not None:
            outputs += (mask_output(work, found.mask),)
        if found.candidates is not None:
            content = found.candidates.packed()
            path = f"exposures/{work.name}/pick_candidates.npz"
            outputs += (Output(CANDIDATES, path, lambda path: write_bytes(path, content)),)
        return Outcome(numbers, outputs, found.flags)


class ExtractStage:
    """Cuts out the picked particles."""

    name = "extract"
    version = 1

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        if session.stages_off():
            return None
        return ("pick",) if session.settings.extract.ctf == "none" else ("pick", "ctf")

    def choices(self, session: Session) -> Mapping[str, Any]:
        # Later choices count where they are made: sessions of before keep their results.
        later = ("small_bin_to", "ctf", "ctf_box", "white_dust", "black_dust")
        chosen = session.settings.extract.model_dump(mode="json")
        return {
            "extract": {
                k: v for k, v in chosen.items() if k not in later or v not in (None, "none")
            },
            "voltage": session.settings.data.voltage,
            "float16": session.settings.output.float16,
        }

    def prefetch(self, work: Work) -> None:
        prefetch_image(work)

    def run(self, work: Work) -> Outcome:
        from icefloe.extraction import box_warning, choose_box, extract_particles
        from icefloe.interop.particle_ctf import particle_ctf

        picks = work.numbers["pick"]
        pixel_size = pixel_size_of(work)
        settings = work.session.settings.extract
        box = choose_box(
            settings,
            pixel_size=pixel_size,
            diameter=picks["diameter_max"],
            voltage=work.session.settings.data.voltage,
        )
        warning = box_warning(
            settings,
            pixel_size=pixel_size,
            diameter=picks["diameter_max"],
            voltage=work.session.settings.data.voltage,
        )
        y, x = (np.asarray(picks[axis], dtype=np.float64) for axis in "yx")
        result = extract_particles(
            image_of(work),
            y,
            x,
            pixel_size=pixel_size,
            ctf=None if settings.ctf == "none" else particle_ctf(work.numbers["ctf"], y, x),
            settings=settings.model_copy(update={"box": box}),
            device=work.session.device,
        )
        outputs: tuple[Output, ...] = ()
        if len(result.images):
            path, size = f"particles/{work.name}.mrcs", float(result.pixel_size)
            outputs = (mrc_output(work, "particles", path, result.images, size),)
            if result.small is not None:
                path, size = f"particles/{work.name}_small.mrcs", float(result.small.pixel_size)
                outputs += (mrc_output(work, "particles_small", path, result.small.images, size),)
        flags = (*result.flags, *((warning,) if warning else ()))
        return Outcome(result.numbers(), outputs, flags)


MICROGRAPH_STAGES: tuple[Stage, ...] = (CtfStage(), LookStage(), PickStage(), ExtractStage())
