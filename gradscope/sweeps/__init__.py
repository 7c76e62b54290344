"""Sweeps: a grid of points, measured in parallel, kept in a file that any script reads.

``grid_sweep``: the whole of it. ``plan``: from ``--vary`` to points; ``values``: how their values are written.
``run_plan``: submit, collect, keep; ``engines``: where points are computed; ``point``: one of them.
``stacked``: many small networks side by side. ``store``: the file. ``estimate``: ``--dry-run``.
"""
