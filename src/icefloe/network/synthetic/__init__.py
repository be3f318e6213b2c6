"""Simulated micrographs of all kinds of particles, at the network's own sampling, fast."""
