"""P, Λ, P⁻¹ and the W they rebuild, and |λ|^k beside ‖W^k‖: what ``spectrum --matrices`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.records import plain
from gradscope.reports.document import Block, Column, Sentence, Table
from gradscope.reports.numbers import fixed, log_value


def matrix_blocks(row: Mapping[str, Any], name: str) -> list[Block]:
    """Tables of one block; none where its matrices were not asked for."""
    held = plain(row.get("matrices"))
    if not held:
        return []
    blocks: list[Block] = [_complex_table(f"{name}: P, the eigenvectors as columns", held["P"])]
    blocks.append(_complex_table(f"{name}: Lambda, on the diagonal", [held["eigenvalues"]]))
    if held.get("P_inverse") is None:
        said = "has no P^-1: it is not diagonalizable to working precision, and W = P Lambda P^-1 does not exist."
        blocks.append(Sentence(f"{name} {said}"))
    else:
        blocks.append(_complex_table(f"{name}: P^-1", held["P_inverse"]))
        cells = tuple(tuple(fixed(value, 4) for value in line) for line in held["W"])
        blocks.append(Table(f"{name}: W = P Lambda P^-1, multiplied out", _columns(len(cells)), cells))
    blocks.append(_powers(held["powers"], name))
    return blocks


def _columns(n: int) -> tuple[Column, ...]:
    return tuple(Column(str(i)) for i in range(1, n + 1))


def _complex_table(caption: str, rows: Sequence[Sequence[Sequence[float]]]) -> Table:
    real = all(pair[1] == 0 for line in rows for pair in line)
    cells = tuple(tuple(_complex(pair, real) for pair in line) for line in rows)
    return Table(caption, _columns(len(rows[0])), cells)


def _complex(pair: Sequence[float], real: bool) -> str:
    """A number as 0.5 or 0.5+0.2i.

    >>> _complex([0.5, -0.25], False)
    '0.5000-0.2500i'
    """
    re, im = pair
    return fixed(re, 4) if real else f"{fixed(re, 4)}{im:+.4f}i"


def _powers(held: Mapping[str, Any], name: str) -> Table:
    """|λ_m|^k, what the article is left with, beside the norm of the power itself."""
    n = len(held["log10_eigenvalues"][0])
    shown = sorted({0, n - 1})
    columns = (
        Column("k"),
        *(Column("|lambda_1|^k" if m == 0 else f"|lambda_{m + 1}|^k") for m in shown),
        Column("|W^k|"),
        Column("|P Lambda^k P^-1|"),
    )
    lines = tuple(
        (str(k), *(log_value(moduli[m]) for m in shown), log_value(norm), log_value(rebuilt))
        for k, moduli, norm, rebuilt in zip(
            held["k"], held["log10_eigenvalues"], held["log10_norm"], held["log10_rebuilt_norm"], strict=True
        )
    )
    return Table(f"{name}: log10 of powers; the article has Lambda^k for W^k, P decides the rest", columns, lines)
