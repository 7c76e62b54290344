"""Sweeps: a grid of points, measured in parallel, kept in a file that any script reads."""
