"""Which units hold the slow modes of each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Column, Table
from gradscope.reports.numbers import fixed, printable, significant

#: Units named of each mode.
_NAMED = 3


def slow_mode_blocks(result: Result) -> list[Block]:
    """A line for each slow mode: how long it lasts, in how many units it lives, and in which most."""
    held = plain(result.details.get("slow_modes")) or {}
    lines = []
    for block, modes in held.items():
        for mode in modes:
            shares = mode["participation"]
            most = sorted(range(len(shares)), key=lambda i: -shares[i])[:_NAMED]
            (re, im), steps = mode["eigenvalue"], mode["steps"]
            lines.append(
                (
                    printable(str(block)),
                    fixed(re, 4) + (f" ±{fixed(im, 4)}i" if im else ""),
                    "does not fall" if steps is None else significant(steps, 3),
                    significant(mode["units"], 3),
                    ", ".join(_share(i, shares) for i in most),
                )
            )
    if not lines:
        return []
    columns = (
        Column("block", "left"),
        Column("eigenvalue"),
        Column("steps to 1/e"),
        Column("units"),
        Column("most in unit", "left"),
    )
    caption = "Slow modes: who takes part (|d lambda / d W_ii|, share of the sum; units: in how many it lives)"
    return [Table(caption, columns, tuple(lines))]


def _share(i: int, shares: Sequence[Any]) -> str:
    return f"{i + 1} ({fixed(100 * shares[i], 0)} %)"
