"""Labels, units and explanations of numbers that are looked at less often."""

from __future__ import annotations

__all__ = ["TEXTS"]

_A = "Å"
_SIZE = "Size of a pixel"
# By name: label, unit, a sentence.
TEXTS: dict[str, tuple[str, str, str]] = {
    "ctf.amplitude_contrast": ("Amplitude contrast", "", "A fraction, as given."),
    "ctf.voltage": ("Voltage", "kV", "Acceleration voltage, as given or read."),
    "ctf.astigmatism_error": ("Error of the astigmatism", _A, "Its standard error."),
    "ctf.defocus_angle_error": ("Error of the azimuth", "°", "Its standard error."),
    "ctf.defocus_u_error": ("Error of defocus U", _A, "Its standard error."),
    "ctf.defocus_v_error": ("Error of defocus V", _A, "Its standard error."),
    "ctf.phase_shift_error": (
        "Error of the phase shift",
        "°",
        "Its standard error; 0 where it was not fitted.",
    ),
    "ctf.fit_resolution_ctffind": (
        "Fit resolution, CTFFIND's way",
        _A,
        "Up to here the fit agrees by the criterion that CTFFIND uses.",
    ),
    "ctf.fitted_to": ("Fitted to", _A, "Finest detail that took part in the fit."),
    "ctf.aliasing_resolution": (
        "Aliasing",
        _A,
        "From here on the rings are too narrow to be seen.",
    ),
    "ctf.snr": ("Signal of the rings", "", "Signal to noise of all rings together."),
    "ctf.pixel_size": ("Pixel in the fit", _A, f"{_SIZE} of the image that was fitted."),
    "ctf.spectrum_pixel_size": ("Pixel of the spectrum", _A, "Its finest detail is twice this."),
    "ctf.local.astigmatism": ("Astigmatism, local fit", _A, "That of the fit with tiles."),
    "ctf.local.defocus_angle": ("Azimuth, local fit", "°", "That of the fit with tiles."),
    "ctf.local.defocus_error": (
        "Error of the defocus, local fit",
        _A,
        "Standard error over the micrograph in the fit with tiles.",
    ),
    "ctf.local.curvature_gain": (
        "Evidence of curvature",
        "",
        "How much better a curved surface fits than a plane.",
    ),
    "ctf.local.tilt_gain": (
        "Evidence of tilt",
        "",
        "How much better a tilted plane fits than one defocus.",
    ),
    "ctf.local.n_tiles": ("Tiles", "", "Parts of the micrograph in the local fit."),
    "ctf.local.significant": (
        "Defocus varies",
        "",
        "1 where the local fit found a slope or a curve, else 0.",
    ),
    "ctf.local.used": ("Local defocus used", "", "1 where picks get the defocus of their place."),
    "ctf.local.snr": ("Signal of the rings, local fit", "", "Of all rings of all tiles."),
    "ctf.local.surface.pixel_size": (
        "Pixel of the surface",
        _A,
        "In which its places are counted.",
    ),
    "ctf.local.tilt_angle": ("Tilt found", "°", "Of the plane that fits best."),
    "ctf.local.tilt_axis": ("Tilt axis", "°", "Its direction, from +x towards +y."),
    "ctf.local.tilt_axis_error": ("Error of the tilt axis", "°", "Its standard error."),
    "ctf.local.tilt_error": ("Error of the tilt", "°", "Its standard error."),
    "ctf.view.edge": ("Edge of the picture", "1/Å", "Frequency at the border of the spectrum."),
    "ctf.view.search.noise": (
        "Noise of the search",
        "",
        "Spread of the score where no defocus fits.",
    ),
    "import.pixel_size": ("Pixel of the file", _A, f"{_SIZE} of the movie or micrograph, as used."),
    "import.header_pixel_size": ("Pixel in the header", _A, f"{_SIZE} that the file states."),
    "import.n_frames": ("Frames of the file", "", "Frames that the movie has."),
    "motion.alignment_groups": (
        "Groups of frames",
        "",
        "Neighbouring frames were summed to so many for the alignment.",
    ),
    "motion.binning": ("Binning", "", "Pixels of the movie in a pixel of the micrograph."),
    "motion.first_frame": ("First frame", "", "Counted from 1."),
    "motion.movie_pixel_size": ("Pixel of the movie", _A, f"{_SIZE} before binning."),
    "motion.pixel_size": ("Pixel of the micrograph", _A, f"{_SIZE} after binning."),
    "motion.power_spectrum_pixel_size": (
        "Pixel of the spectrum",
        _A,
        "Of the power spectrum that was kept for the CTF fit.",
    ),
    "motion.polynomial_misfit": (
        "Misfit of RELION's polynomial",
        "px",
        "Motion that the polynomial in RELION's file leaves out, pixels of the movie.",
    ),
    "motion.predicted_error": (
        "Error of the motion",
        "px",
        "That the alignment should have, pixels of the movie.",
    ),
    "motion.voltage": ("Voltage", "kV", "From which the weights by dose follow."),
    "pick.mask_given": ("Mask of a person", "", "1 where a given junk mask was used, else 0."),
    "pick.masked": ("Masked", "", "Fraction of the field where nothing was picked."),
    "pick.separation": (
        "Particles from noise",
        "spreads",
        "Distance of the scores of particles and of noise; below 2.2 they cannot be told apart.",
    ),
    "pick.split.threshold": (
        "Threshold found",
        "",
        "Score at which a peak is as likely noise as particle.",
    ),
    "pick.split.separation": (
        "Particles from noise",
        "spreads",
        "Distance of the two populations of peaks that were found in the scores.",
    ),
    "pick.split.clear": (
        "Particles told apart",
        "",
        "1 where the scores fall into noise and particles, else 0.",
    ),
    "pick.split.low": ("Score of noise", "", "Mean of the peaks that are noise."),
    "pick.split.high": ("Score of particles", "", "Mean of the peaks that are particles."),
    "pick.split.width": ("Spread of the scores", "", "Of the noise, and of the particles."),
    "pick.split.share": (
        "Share of particles",
        "",
        "Part of all peaks of the scores that are particles.",
    ),
    "extract.pixel_size": ("Pixel of the particles", _A, f"{_SIZE} as written."),
}
