"""Figures of a gradients result: gradient against lag with every theory curve, rank decay, details where present."""

from __future__ import annotations

from gradscope.records import Result
from gradscope.reports.document import Block


def figures(result: Result) -> list[Block]:
    """All figures this result has the numbers for."""
    return []
