"""What the recorded numbers mean: label, unit and a sentence for each that people look at."""

from __future__ import annotations

from dataclasses import dataclass

from icefloe.web.number_texts import TEXTS

__all__ = ["NumberText", "describe"]


@dataclass(frozen=True)
class NumberText:
    """How a number is shown.

    Attributes
    ----------
    label
        A few words.
    unit
        Empty where it has none.
    about
        One sentence.
    factor
        From the recorded unit to the one shown.
    main
        Whether it is among those shown first.
    """

    label: str
    unit: str = ""
    about: str = ""
    factor: float = 1.0
    main: bool = False


_A = "Å"
_KNOWN: dict[str, NumberText] = {
    "ctf.defocus": NumberText(
        "Defocus", _A, "Mean of defocus U and V, underfocus positive.", main=True
    ),
    "ctf.fit_resolution": NumberText(
        "CTF fit resolution",
        _A,
        "Up to here the fitted CTF agrees with the spectrum; smaller is better.",
        main=True,
    ),
    "ctf.astigmatism": NumberText(
        "Astigmatism",
        _A,
        "Difference of defocus U and V; large when the lens is out of tune.",
        main=True,
    ),
    "ctf.iciness": NumberText(
        "Ice ring",
        "",
        "Power at 3.9 to 3.5 Å relative to that at 30 to 6 Å; high for thick or crystalline ice.",
        main=True,
    ),
    "ctf.figure_of_merit": NumberText(
        "CTF fit score", "", "Correlation of spectrum and fit; larger is better."
    ),
    "ctf.ice_ring": NumberText(
        "Ice ring, RELION's way", "", "Power at the ring of ice relative to that beside it."
    ),
    "ctf.cs": NumberText("Spherical aberration", "mm", "Of the objective lens."),
    "motion.n_defects": NumberText(
        "Defective pixels", "", "Pixels of the detector that were replaced."
    ),
    "motion.n_frames_total": NumberText("Frames of the movie", "", "Frames that the movie has."),
    "motion.pre_exposure": NumberText("Pre-exposure", "e/Å²", "Dose before the first frame."),
    "pick.diameter_min": NumberText(
        "Smallest diameter", _A, "Of the particles that were looked for."
    ),
    "pick.diameter_max": NumberText(
        "Largest diameter", _A, "Of the particles that were looked for."
    ),
    "extract.box": NumberText("Box", "px", "Of the particles as written."),
    "extract.extract_box": NumberText("Box cut out", "px", "In pixels of the micrograph."),
    "ctf.defocus_u": NumberText("Defocus U", _A, "The larger defocus."),
    "ctf.defocus_v": NumberText("Defocus V", _A, "The smaller defocus."),
    "ctf.defocus_angle": NumberText(
        "Azimuth of U", "°", "Direction of defocus U, from +x towards +y."
    ),
    "ctf.defocus_error": NumberText(
        "Error of the defocus", _A, "Standard error of the mean defocus."
    ),
    "ctf.phase_shift": NumberText("Phase shift", "°", "Of a phase plate; 0 without one."),
    "ctf.fit_resolution_03": NumberText(
        "Fit resolution at 0.3", _A, "The same with a correlation of 0.3 as limit."
    ),
    "ctf.tilt": NumberText("Tilt of the specimen", "°", "Angle between specimen and image plane."),
    "ctf.thickness": NumberText(
        "Thickness", _A, "Of the specimen, from the nodes of its Thon rings."
    ),
    "motion.motion_total": NumberText(
        "Total motion",
        _A,
        "Length of the path of the whole frame; large when the stage drifts.",
        main=True,
    ),
    "motion.motion_early": NumberText(
        "Early motion",
        _A,
        "Its part in the first 4 e/Å², the frames with the most detail.",
        main=True,
    ),
    "motion.motion_late": NumberText("Late motion", _A, "The path after the first 4 e/Å²."),
    "motion.mean_correlation": NumberText(
        "Correlation of frames", "", "How well aligned frames agree with the sum of the others."
    ),
    "motion.dose_per_frame": NumberText(
        "Dose per frame", "e/Å²", "As given or read from the metadata."
    ),
    "motion.n_frames": NumberText("Frames", "", "Frames that were used."),
    "pick.n_picks": NumberText(
        "Picks", "", "Particles that were picked in the micrograph.", main=True
    ),
    "pick.median_score": NumberText(
        "Median pick score", "", "Score of the middle pick; larger is surer."
    ),
    "pick.threshold": NumberText("Pick threshold", "", "Lowest score that was picked."),
    "extract.n_particles": NumberText("Particles", "", "Particles that were extracted."),
    "extract.n_dropped": NumberText("Picks left out", "", "Picks too near the border to extract."),
    "look.mean": NumberText(
        "Mean grey value", "", "Of the micrograph, in its own units; low where ice is thick."
    ),
    "look.gradient": NumberText(
        "Gradient", "", "Change of the grey value across the field, relative to the mean."
    ),
    "look.dark_fraction": NumberText(
        "Dark area", "", "Fraction of the area that is much darker than the rest."
    ),
    "look.dark_depth": NumberText(
        "Darkest places",
        "spreads",
        "How dark the darkest places are; high for aggregates and dirt.",
    ),
    "look.area_contrast": NumberText(
        "Contrast of areas",
        "spreads",
        "Distance of two classes of grey; high at an edge of carbon.",
    ),
    "look.area_fraction": NumberText(
        "Smaller area", "", "Fraction of the field that the smaller class takes."
    ),
    "look.texture": NumberText("Texture", "", "Spread of the local contrast over the field."),
    "look.roughness": NumberText(
        "Roughness",
        "",
        "Contrast of features of 200 to 600 Å over that of detail; high for crystals.",
    ),
    "look.lattice": NumberText(
        "Strongest spot",
        "spreads",
        "Strongest spot of the spectrum at 4.1 to 2.2 Å; high for a crystal.",
    ),
    "look.lattice_spacing": NumberText("Spacing of the spot", _A, "Where the strongest spot is."),
}
# By the end of a key, for numbers that are not in the table.
_UNITS = (
    ("pixel_size", _A),
    ("_resolution", _A),
    ("resolution", _A),
    ("diameter", _A),
    ("diameter_min", _A),
    ("diameter_max", _A),
    ("voltage", "kV"),
    ("_angle", "°"),
    ("seconds", "s"),
    ("cs", "mm"),
)
_STAGES = {
    "import": "import",
    "motion": "motion correction",
    "ctf": "CTF fit",
    "look": "image numbers",
    "pick": "picking",
    "extract": "extraction",
}


def describe(name: str) -> NumberText:
    """Return how the number ``stage.key`` is shown; one that is not known gets its own name."""
    known = _KNOWN.get(name)
    if known is not None:
        return known
    if name in TEXTS:
        return NumberText(*TEXTS[name])
    stage, _, key = name.partition(".")
    unit = next((unit for end, unit in _UNITS if key.endswith(end)), "")
    label = key.replace("_", " ").replace(".", ", ").capitalize()
    return NumberText(label, unit, f"Recorded by {_STAGES.get(stage, stage)} as {name}.")
