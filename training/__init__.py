"""Weights from a hospital's own radiographs: manifest, standardised arrays, networks, loop, figures (torch)."""
