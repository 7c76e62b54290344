"""Which loss teaches which copy of the weights: a map, and for a few losses in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Column, HeatFigure, Table
from gradscope.reports.numbers import log_value, significant
from gradscope.reports.reading import epsilon_of, number, spread

#: Losses in the table.
_ROWS = 6


def loss_map_figure(result: Result) -> HeatFigure | None:
    """The map of ``details["loss_map"]``."""
    held = plain(result.details.get("loss_map"))
    if not held:
        return None
    decodes = _decodes(held)
    where = "decoder step" if decodes else "step"
    return HeatFigure(
        "Which loss teaches which copy of W_hh",
        f"log10 of the norm of the gradient of the loss at {where} n with respect to the copy of W_hh used at step i.",
        "copy used at encoder step e, decoder step d" if decodes else "copy used at step i",
        f"loss at {where} n",
        "log10 of the norm",
        tuple(_copies(held)),
        tuple(str(step) for step in held["loss_step"]),
        tuple(tuple(number(v) for v in row) for row in held["log10_dloss_dweight"]),
        name="loss-map",
    )


def loss_map_blocks(result: Result) -> list[Block]:
    """A line for each of a few losses: the copy it teaches most, and how far back it teaches at all."""
    held = plain(result.details.get("loss_map"))
    if not held or not held["loss_step"]:
        return []
    epsilon = epsilon_of(result) or 1e-3
    rows = spread(len(held["loss_step"]), _ROWS)
    titles = ["loss at", "most", "log10", f"back to ({significant(epsilon)} of it)"]
    parts = [list(range(len(held["copy"])))]
    if _decodes(held):
        parts = [[i for i in parts[0] if held["phase"][i] == phase] for phase in ("encoder", "decoder")]
        titles = ["loss at", "encoder: most", "log10", titles[-1], "decoder: most", "log10", titles[-1]]
    lines = []
    for row in rows:
        cells = [str(held["loss_step"][row])]
        for part in parts:
            cells += _taught(held["log10_dloss_dweight"][row], part, held["copy"], epsilon)
        lines.append(tuple(cells))
    caption = "Which copy of W_hh each loss teaches (dL_n/dW_hh of the copy used at step i)"
    return [Table(caption, tuple(Column(title) for title in titles), tuple(lines))]


def _taught(row: Sequence[float | None], part: Sequence[int], copies: Sequence[int], epsilon: float) -> list[str]:
    known = {i: value for i in part if (value := row[i]) is not None}
    if not known:
        return ["-", "-", "-"]
    most = max(known, key=known.__getitem__)
    back = min(i for i, value in known.items() if 10.0 ** (value - known[most]) >= epsilon)
    return [str(copies[most]), log_value(known[most]), str(copies[back])]


def _decodes(held: Mapping[str, Any]) -> bool:
    return any(phase is not None for phase in held["phase"])


def _copies(held: Mapping[str, Any]) -> list[str]:
    return [f"{phase[0] if phase else ''}{copy}" for phase, copy in zip(held["phase"], held["copy"], strict=True)]
