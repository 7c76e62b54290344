"""Eigenvalues of every recurrent block, and what they do and do not say about gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, DiscFigure, Document, Section, Sentence, Table
from gradscope.reports.numbers import NULL, fixed, printable, significant
from gradscope.reports.reading import column, labels, number
from gradscope.reports.views.common import about_source, document, short_cell, warnings_of
from gradscope.reports.views.slow_modes import slow_mode_blocks
from gradscope.reports.views.spectrum_matrices import matrix_blocks

# Field, what it is, and the numbers that a conclusion hangs on.
_PROPERTIES: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("n", "size n", ()),
    ("spectral_radius", "spectral radius", (1.0,)),
    ("spectral_norm", "spectral norm", (1.0,)),
    ("numerical_radius", "numerical radius", (1.0,)),
    ("numerical_abscissa", "numerical abscissa", (0.0, 1.0)),
    ("diagonalizable", "diagonalizable", ()),
    ("log10_condition", "log10 cond(P)", (0.0,)),
    ("reconstruction_error", "|W - PLP^-1|/|W|", (0.0,)),
    ("henrici", "departure from normal", (0.0,)),
    ("scaled_norm", "min |SWS^-1|, S diagonal", (1.0,)),
    ("log10_scaled_condition", "log10 cond(S)", (0.0,)),
    ("kreiss", "Kreiss constant, at least", (1.0,)),
    ("kreiss_upper", "e n K >= |W^k|, if K is right", (1.0,)),
    ("peak_power", "peak of |W^k| at k", ()),
    ("log10_peak_power_norm", "log10 of that peak", (0.0,)),
    ("peak_proven", "peak proven", ()),
    ("pseudospectral_radius", "pseudospectral radius", (1.0,)),
    ("pseudospectral_epsilon", "  for perturbations of", ()),
    ("pseudospectral_certified", "  certified", ()),
    ("surrogate_norm", "normal control: norm", (1.0,)),
    ("surrogate_peak_power", "  peak of |N^k| at k", ()),
    ("surrogate_log10_peak_power_norm", "  log10 of that peak", (0.0,)),
)
_BLOCKS_PER_TABLE = 4
_EIGENVALUES_SHOWN = 8


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """A column per recurrent block, a line per property."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        rows = list(result.rows())
        blocks: list[Block] = [*_conclusion(result, rows)]
        parts = (rows[start : start + _BLOCKS_PER_TABLE] for start in range(0, len(rows), _BLOCKS_PER_TABLE))
        blocks += [_properties(result, part) for part in parts]
        for row in rows:
            blocks += matrix_blocks(row, block_name(row))
        if rows and any(row.get("eigenvalues") for row in rows):
            blocks.append(_eigenvalues(rows, None if verbose else _EIGENVALUES_SHOWN))
        blocks += slow_mode_blocks(result) if verbose or len(rows) == 1 else ()
        blocks += [*warnings_of(result), *(figures_of(result, rows) if figures else ())]
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Spectrum of the recurrent blocks", sections)


def block_name(row: Mapping[str, Any]) -> str:
    """The gate of a block, or its parameter where there is no gate."""
    return printable(str(row.get("gate") or row.get("param") or "W_hh"))


def _conclusion(result: Result, rows: list[dict[str, Any]]) -> list[Block]:
    said = result.summary.get("conclusion")
    if said:
        return [Sentence(printable(str(said)), "verdict")]
    if any(row.get("conclusion") for row in rows):
        return _concluded([row for row in rows if row.get("conclusion")])
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(_meaning(row, str(result.source.get("cell"))), []).append(row)
    return [Sentence(f"{_sizes(members)}: {meaning}.", "verdict") for meaning, members in grouped.items()]


def _concluded(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What was concluded of each block, in one sentence for those of which the same holds."""
    each = {printable(str(row["conclusion"])): row for row in rows}
    if len(each) == 1:
        return [Sentence(text, "verdict") for text in each]
    grouped: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for text, row in each.items():
        grouped.setdefault(text.partition(": ")[2] or text, []).append((text, row))
    return [
        Sentence(f"{_sizes([row for _, row in members])}: {effect}", "verdict")
        if len(members) > 1
        else Sentence(f"{block_name(members[0][1])}: {members[0][0]}", "verdict")
        for effect, members in grouped.items()
    ]


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Names of the blocks, and between what their radii and norms lie."""
    parts = []
    for name, word in (("spectral_radius", "radius"), ("spectral_norm", "norm")):
        values = sorted(v for row in rows if (v := number(row.get(name))) is not None)
        ends = [fixed(v, 4, against=[1.0]) for v in (values[:1] + values[-1:] if values else ())]
        parts.append(f"{word} {' to '.join(dict.fromkeys(ends)) or NULL}")
    return f"{', '.join(map(block_name, rows))}: {', '.join(parts)}"


def _meaning(row: Mapping[str, Any], cell: str) -> str:
    """What may be concluded about powers of the block, and no more than that."""
    radius, norm = number(row.get("spectral_radius")), number(row.get("spectral_norm"))
    if radius is None or norm is None:
        return "no spectrum"
    low, high = (number(row.get(f"spectral_radius_{end}")) for end in ("low", "high"))
    if row.get("ill_conditioned") and low is not None and high is not None and low < 1 < high:
        return "the eigenvalues are too ill-conditioned to say on which side of 1 the radius lies"
    if norm < 1:
        every = ", and with slopes of at most 1 the gradient vanishes for every input" if cell == "rnn" else ""
        return f"every power shrinks from the first step{every}"
    if radius < 1:
        peak = number(row.get("log10_peak_power_norm"))
        if peak is None or peak <= 0:
            return "the powers vanish in the end"
        return f"the powers vanish in the end, but first peak at 10^{fixed(peak, 2)} (k = {row.get('peak_power')})"
    if radius > 1:
        return "the powers grow without end; the slopes decide whether the gradient does (measure it: gradients)"
    return "on the edge: as powers neither vanishing nor exploding"


def _properties(result: Result, rows: list[dict[str, Any]]) -> Table:
    columns = (Column("", "left"), *(Column(block_name(row)) for row in rows))
    known = {name for name, _, _ in _PROPERTIES} | {"param", "gate", "eigenvalues", "conclusion"}
    if not any(row.get("ill_conditioned") for row in rows):
        known |= {"spectral_radius_low", "spectral_radius_high"}  # they say nothing new then
    lines = [
        (title, *(_property(row.get(name), against) for row in rows))
        for name, title, against in _PROPERTIES
        if name in result.columns
    ]
    lines += [
        (name.replace("_", " "), *(short_cell(row.get(name)) for row in rows))
        for name in result.columns
        if name not in known and not any(isinstance(row.get(name), list | dict) for row in rows)
    ]
    params = sorted({printable(str(row.get("param"))) for row in rows if row.get("param")})
    return Table(", ".join(params), columns, tuple(lines))


def _property(value: Any, against: tuple[float, ...]) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return short_cell(value)
    return significant(value, 5, against=against)


def _eigenvalues(rows: list[dict[str, Any]], shown: int | None) -> Table:
    lines = []
    for row in rows:
        values = row.get("eigenvalues") or []
        lines += [
            (
                block_name(row),
                str(i),
                fixed(number(re), 4),
                fixed(number(im), 4),
                fixed((re * re + im * im) ** 0.5, 4, against=[1.0]),
            )
            for i, (re, im) in enumerate(values[:shown], start=1)
        ]
        if shown is not None and len(values) > shown:
            lines.append((block_name(row), "...", NULL, NULL, f"{len(values) - shown} more"))
    columns = (Column("block", "left"), Column("i"), Column("re"), Column("im"), Column("modulus"))
    return Table("Eigenvalues, largest modulus first", columns, tuple(lines))


def figures_of(result: Result, rows: list[dict[str, Any]]) -> list[Block]:
    """Eigenvalues on the unit disc, one figure per block, with the numerical range where it was computed."""
    ranges = result.details.get("numerical_range", {})
    out: list[Block] = []
    for row, param in zip(rows, column(result, "param"), strict=True):
        points = tuple((float(re), float(im)) for re, im in row.get("eigenvalues") or ())
        if not points:
            continue
        outline = ranges.get(f"{param}:{row.get('gate')}", ranges.get(str(param), ranges.get(str(row.get("gate")), ())))
        inside = sum(re * re + im * im < 1 for re, im in points)
        out.append(
            DiscFigure(
                f"Eigenvalues of {block_name(row)}",
                f"{inside} of {len(points)} eigenvalues lie inside the unit circle; "
                f"the largest modulus is {fixed(number(row.get('spectral_radius')), 4, against=[1.0])}.",
                points,
                tuple((float(re), float(im)) for re, im in outline),
                name="eigenvalues",
            )
        )
    return out
