"""Grids of points: plan, store, run."""
