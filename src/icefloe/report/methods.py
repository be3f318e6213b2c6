"""The paragraph about preprocessing for a paper, from what was really done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icefloe.curation import Curation
from icefloe.report.origin import StageOrigin
from icefloe.report.summary import Row, facts

__all__ = ["CITATIONS", "Citation", "Methods", "methods"]


@dataclass(frozen=True)
class Citation:
    """A paper whose method is used."""

    text: str
    doi: str

    @property
    def short(self) -> str:
        """Authors and year, as they stand in a sentence."""
        return self.text.partition(":")[0]


CITATIONS = {
    "dose": Citation(
        "Grant & Grigorieff, 2015: Measuring the optimal exposure for single particle cryo-EM "
        "using a 2.6 Å reconstruction of rotavirus VP6. eLife 4, e06980",
        "10.7554/eLife.06980",
    ),
    "ctf": Citation(
        "Rohou & Grigorieff, 2015: CTFFIND4: fast and accurate defocus estimation from electron "
        "micrographs. J. Struct. Biol. 192, 216-221",
        "10.1016/j.jsb.2015.08.008",
    ),
    "correlation": Citation(
        "Roseman, 2003: Particle finding in electron micrographs using a fast local correlation "
        "algorithm. Ultramicroscopy 94, 225-236",
        "10.1016/S0304-3991(02)00333-9",
    ),
    "relion": Citation(
        "Scheres, 2012: RELION: implementation of a Bayesian approach to cryo-EM structure "
        "determination. J. Struct. Biol. 180, 519-530",
        "10.1016/j.jsb.2012.09.006",
    ),
}


@dataclass(frozen=True)
class Methods:
    """The paragraph.

    Attributes
    ----------
    paragraph
        Sentences, as they can be pasted into a paper.
    citations
        The papers it names, in that order.
    remarks
        What the author must know: results of several versions or settings, what is not known.
    """

    paragraph: str
    citations: tuple[Citation, ...]
    remarks: tuple[str, ...]

    @property
    def text(self) -> str:
        """Paragraph, references and remarks as plain text."""
        parts = [self.paragraph]
        if self.citations:
            parts.append("\n".join(f"{c.text}. https://doi.org/{c.doi}" for c in self.citations))
        if self.remarks:
            parts.append("\n".join(f"Note: {remark}." for remark in self.remarks))
        return "\n\n".join(parts) + "\n"


def methods(
    rows: Sequence[Row], origins: Mapping[str, StageOrigin], curation: Curation | None
) -> Methods:
    """Return the paragraph for a session.

    Parameters
    ----------
    rows
        Its exposures.
    origins
        By stage, what made its results.
    curation
        The verdicts, None if there are none.
    """
    kept = [row for row in rows if row.state != "failed"]
    if curation is not None:
        kept = [row for row in rows if curation.verdicts[row.name].state == "accepted"]
    cited: dict[str, None] = {}
    sentences = [_data(rows)]
    if "motion" in origins:
        sentences += _motion(origins["motion"], cited)
    if "ctf" in origins:
        sentences += _ctf(kept, origins["ctf"], cited)
    sentences += _selection(rows, curation)
    if "pick" in origins:
        sentences += _picking(kept, origins["pick"], cited)
    if "extract" in origins:
        sentences += _extraction(kept, origins["extract"], cited)
    programs = sorted({v for origin in origins.values() for v in origin.versions if v})
    if programs:
        sentences[0] += f" They were processed with Icefloe {' and '.join(programs)}."
    citations = tuple(CITATIONS[key] for key in cited)
    return Methods(" ".join(sentences), citations, _remarks(rows, origins))


def _data(rows: Sequence[Row]) -> str:
    kinds = Counter(row.kind for row in rows)
    what = [
        _count(kinds[kind], kind, f"{kind}s") for kind in ("movie", "micrograph") if kinds[kind]
    ]
    found = {fact.label: fact.text for fact in facts(rows)}
    about = []
    if "Frames" in found:
        about.append(f"{found['Frames']} frames")
    if "Micrograph" in found and "," not in found["Micrograph"]:
        about.append(found["Micrograph"].replace("px", "pixels"))
    size = found.get("Movie pixel size", found.get("Pixel size"))
    if size:
        about.append(f"{size} per pixel")
    about += [found[k] for k in ("Voltage",) if k in found]
    if "Spherical aberration" in found:
        about.append(f"Cs {found['Spherical aberration']}")
    if "Total dose" in found:
        about.append(f"a total exposure of {found['Total dose'].replace('e/', 'e⁻/')}")
    text = " and ".join(what) or f"{len(rows)} exposures"
    return f"The data are {text}{f' ({_and(about)})' if about else ''}."


def _motion(origin: StageOrigin, cited: dict[str, None]) -> list[str]:
    section = (origin.settings or {}).get("motion", {})
    data = (origin.settings or {}).get("data", {})
    gain = "Frames were multiplied by the gain reference. " if data.get("gain") else ""
    text = (
        f"{gain}Beam-induced motion was corrected by one fit to all frames and patches of a movie "
        "at once, of a whole-frame displacement in each frame and a local one that is smooth in "
        "space and time"
    )
    if section.get("patches") == [1, 1]:
        text = f"{gain}The motion of whole frames was corrected"
    if section.get("binning", 1.0) != 1.0:
        text += f"; micrographs were Fourier-binned {section['binning']:g} times"
    first, last = section.get("first_frame", 1), section.get("last_frame", "")
    if first != 1 or last != "":
        text += f"; frames {first} to {last or 'the last'} were used"
    sentences = [f"{text}."]
    if section.get("dose_weighting", True) and section:
        sentences.append(f"Frames were weighted by their exposure ({_cite('dose', cited)}).")
    return sentences


def _ctf(kept: Sequence[Row], origin: StageOrigin, cited: dict[str, None]) -> list[str]:
    section = (origin.settings or {}).get("ctf", {})
    how = "of micrographs"
    if section:
        how = (
            f"between {section['low_resolution']:g} and {section['high_resolution']:g} Å"
            f"{', or as far as Thon rings were seen' if section.get('extend_range') else ''}"
        )
    phase = " with the phase shift of a phase plate" if section.get("phase_shift") else ""
    sentences = [f"The CTF{phase} was fitted to power spectra {how}"]
    resolution = _values(kept, "resolution")
    if resolution:
        sentences[0] += (
            f"; the fits hold to {np.median(resolution):.1f} Å (median; "
            f"{_cite('ctf', cited)}, criterion of correlation 0.5)"
        )
    sentences[0] += "."
    defocus = _values(kept, "defocus")
    if defocus:
        sentences.append(
            f"Defocus was {_span(min(defocus), max(defocus), 2)} µm "
            f"(median {np.median(defocus):.2f} µm)."
        )
    return sentences


def _selection(rows: Sequence[Row], curation: Curation | None) -> list[str]:
    failed = sum(row.state == "failed" for row in rows)
    if curation is None:
        return [f"{_count(failed, 'exposure', 'exposures')} could not be processed."] * bool(failed)
    verdicts = curation.verdicts
    causes = []
    for count in curation.counts:
        number = sum(verdicts[name].by == "rules" for name in count.taken)
        if number:
            causes.append(f"{number} for '{count.rule.reason or f'not {count.rule}'}'")
    by_hand = sum(v.by == "person" and v.state == "rejected" for v in verdicts.values())
    failed = sum(v.by == "failure" for v in verdicts.values())
    causes += [f"{by_hand} judged by eye"] * bool(by_hand)
    causes += [f"{failed} that could not be processed"] * bool(failed)
    text = f"{len(curation.names('accepted'))} of {len(rows)} exposures were kept"
    if causes:
        text += f"; left out were {_and(causes)}"
    return [f"{text}."]


def _picking(kept: Sequence[Row], origin: StageOrigin, cited: dict[str, None]) -> list[str]:
    section = (origin.settings or {}).get("pick", {})
    picks = _values(kept, "picks")
    text = f"{_grouped(sum(picks))} particles were picked in {_grouped(len(picks))} micrographs"
    method = section.get("method", "blob")
    diameters = sorted({d for row in kept for d in row.settings["Particle diameter"] if d})
    size = f" of {_span(diameters[0], diameters[-1], 0)} Å" if diameters else ""
    what = {
        "blob": f"projections of balls and hollow balls{size}",
        "auto": f"templates averaged from the micrographs themselves, of particles{size}",
        "template": f"given templates, of particles{size}",
    }
    if method in ("network", "learn"):
        text += " with a neural network"
        if method == "learn":
            text += (
                " that was trained on what templates averaged from the micrographs themselves find"
            )
        own = section.get("network", {})
        if isinstance(own.get("threshold"), int | float):
            text += f", above a probability of {own['threshold']:g}"
        return [f"{text}."]
    if method not in what:
        return [f"{text} with the method '{method}'."]
    text += f" by their correlation with {what[method]} ({_cite('correlation', cited)})"
    # Sessions of before the methods had sections of their own kept the threshold beside them.
    own = section.get("blob" if method == "blob" else "template", section)
    threshold = own.get("threshold")
    if isinstance(threshold, int | float):
        unit = " standard deviations" if method == "blob" else ""
        text += f", above {threshold:g}{unit}"
    elif section:
        text += ", with a threshold found for each micrograph"
    return [f"{text}."]


def _extraction(kept: Sequence[Row], origin: StageOrigin, cited: dict[str, None]) -> list[str]:
    section = (origin.settings or {}).get("extract", {})
    found = {fact.label: fact.text for fact in facts(kept)}
    particles = _values(kept, "particles")
    text = (
        f"{_grouped(sum(particles))} particles were extracted"
        if particles
        else ("Particles were extracted")
    )
    if "Particle box" in found:
        text += f" in boxes of {found['Particle box'].removesuffix(' px')} pixels"
    if "Particle pixel size" in found:
        text += f" at {found['Particle pixel size']} per pixel"
    if section.get("ctf", "none") != "none":
        how = {"flip": "flipped by the CTF", "multiply": "multiplied by the CTF"}
        text += f", {how.get(section['ctf'], section['ctf'])}"
    if section.get("normalise", True) and section:
        text += (
            f" and normalised to a background of mean 0 and variance 1 ({_cite('relion', cited)})"
        )
    return [f"{text}."]


def _remarks(rows: Sequence[Row], origins: Mapping[str, StageOrigin]) -> tuple[str, ...]:
    remarks = []
    for origin in origins.values():
        if origin.n_other_settings:
            remarks.append(
                f"{origin.n_other_settings} of {origin.done} results of {origin.name} were made "
                "with other settings than the text says"
            )
        if origin.settings is None and origin.done:
            remarks.append(
                f"the settings of {origin.name} were not recorded, and are left out of the text"
            )
    unknown = sum(row.kind == "unknown" for row in rows)
    if unknown:
        text = _count(unknown, "exposure was", "exposures were")
        remarks.append(f"{text} never read, and not counted as a movie or micrograph")
    waiting = sum(row.state in ("waiting", "stale") for row in rows)
    if waiting:
        remarks.append(f"{_count(waiting, 'exposure is', 'exposures are')} not finished")
    return tuple(remarks)


def _cite(key: str, cited: dict[str, None]) -> str:
    cited[key] = None
    return CITATIONS[key].short


def _values(rows: Sequence[Row], key: str) -> list[float]:
    return [v for row in rows if (v := row.values[key]) is not None]


def _count(number: int, one: str, many: str) -> str:
    return f"{_grouped(number)} {one if number == 1 else many}"


def _grouped(number: float) -> str:
    return f"{number:,.0f}"


def _span(low: float, high: float, digits: int) -> str:
    one, other = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return one if one == other else f"{one} to {other}"


def _and(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
