"""``gradients --factors`` of cells with a path around the recurrence: what each unit passes, and a skip's sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Column, Sentence, Table
from gradscope.reports.numbers import count, fixed, is_null, log_value, significant
from gradscope.reports.reading import epsilon_of, shown_lags

#: Units with a column each; of more, the spread is shown.
_COLUMNS = 8
#: Lines where all lags were asked for.
_ROWS = 10


def direct_blocks(result: Result, *, verbose: bool = False) -> list[Block]:
    """The table of every layer with a direct path, or of a skip's telescoped sum."""
    telescoped = plain(result.details.get("telescoped"))
    if telescoped:
        return _telescoped(telescoped, verbose)
    return [block for held in plain(result.details.get("direct_paths")) or () for block in _layer(held, result)]


def _layer(held: Mapping[str, Any], result: Result) -> list[Block]:
    lags, units = held["lag"], held["log10_units"]
    n = len(units[0])
    epsilon = epsilon_of(result) or 1e-3
    where = f"layer {held['layer']}: " if len(plain(result.details["direct_paths"])) > 1 else ""
    path = str(held["path"]).partition(", its largest")[0]
    columns = [Column("lag"), *(Column(title, "right", 0) for title in _titles(n, epsilon))]
    lines = tuple((str(lag), *_cells(row, epsilon)) for lag, row in zip(lags, units, strict=True))
    caption = f"{where}{path}, unit by unit (log10 of the product over the last k steps)"
    table = Table(caption[0].upper() + caption[1:], tuple(columns), lines)
    last = [float("-inf") if is_null(value) else float(value) for value in units[-1]]
    still = sum(10.0**value >= epsilon for value in last)
    most, least = max(range(n), key=last.__getitem__), min(range(n), key=last.__getitem__)
    said = f"At lag {lags[-1]}, {still} of {count(n, 'unit')} pass {significant(epsilon)} or more on this path"
    if n > 1:
        said += f": unit {most + 1} most ({_power(last[most])}), unit {least + 1} least ({_power(last[least])})"
    return [table, Sentence(said + ".")]


def _titles(n: int, epsilon: float) -> list[str]:
    if n <= _COLUMNS:
        return [f"unit {i}" for i in range(1, n + 1)]
    return ["least", "10 %", "median", "90 %", "most", f"units >= {significant(epsilon)}"]


def _cells(row: list[float | None], epsilon: float) -> list[str]:
    if len(row) <= _COLUMNS:
        return [log_value(value) for value in row]
    ordered = sorted(float("-inf") if is_null(value) else float(value or 0.0) for value in row)
    last = len(ordered) - 1
    shown = [ordered[round(share * last)] for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    passing = sum(10.0**value >= epsilon for value in ordered)
    return [*(log_value(None if value == float("-inf") else value) for value in shown), str(passing)]


def _power(log10: float) -> str:
    return "0" if log10 == float("-inf") else f"10^{fixed(log10, 2)}"


def _telescoped(held: Mapping[str, Any], verbose: bool) -> list[Block]:
    """h_T = h_(T-k) + the sum of u, lengths lag by lag; with ``verbose`` one sum written out."""
    places = list(range(len(held["lag"])))
    if len(held["lag"]) > _ROWS:
        near = set(shown_lags(held["lag"][-1], _ROWS))
        places = [i for i in places if held["lag"][i] in near or i == len(held["lag"]) - 1]
    columns = (Column("lag"), Column("|h_(T-k)|"), Column("|sum of u|"), Column("|h_T|"), Column("difference"))
    lines = tuple(
        (
            str(held["lag"][i]),
            *(significant(value, 4) for value in (held["h_start"][i], held["sum"][i], held["h_end"])),
            significant(held["difference"][i], 2),
        )
        for i in places
    )
    blocks: list[Block] = [
        Table("The skip telescopes: h_T = h_(T-k) + u_(T-k+1) + ... + u_T (lengths)", columns, lines),
        Sentence("Every state stands in h_T with factor 1, so that the identity path passes 1 at every lag."),
    ]
    if held.get("vectors") and verbose:
        rows = [
            f"{name:<8}" + "".join(f"{significant(value, 6):>13}" for value in values)
            for name, values in held["vectors"].items()
        ]
        rows[-1] += "   the sum of the lines above"
        blocks.append(Sentence("\n".join(["The same at one lag, by hand:", *rows]), "code"))
    return blocks
