"""Movies, micrographs and sessions with a known truth."""

from icefloe.simulate.motion import SimulatedField
from icefloe.simulate.movie import (
    SimulatedMicrograph,
    SimulatedMovie,
    noise_free_frames,
    simulate_micrograph,
    simulate_movie,
)
from icefloe.simulate.output import MovieFiles, write_micrograph, write_movie
from icefloe.simulate.session import SimulatedSession, simulate_session
from icefloe.simulate.settings import SimulationSettings
from icefloe.simulate.truth import MovieTruth

__all__ = [
    "MovieFiles",
    "MovieTruth",
    "SimulatedField",
    "SimulatedMicrograph",
    "SimulatedMovie",
    "SimulatedSession",
    "SimulationSettings",
    "noise_free_frames",
    "simulate_micrograph",
    "simulate_movie",
    "simulate_session",
    "write_micrograph",
    "write_movie",
]
