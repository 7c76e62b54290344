"""Compositions of cells: each yields a tape."""
