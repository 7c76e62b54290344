"""A map as SVG: cells, a bar that says what their colours mean, a line at 0, hatching over lower bounds."""

from __future__ import annotations

import math

from gradscope.reports.document import HeatFigure, Number
from gradscope.reports.figure_scale import sign_changes, value_range
from gradscope.reports.figure_style import ABOVE, BELOW
from gradscope.reports.numbers import significant
from gradscope.reports.svg_parts import cut, text, xy

_LEFT, _WIDTH, _MOST_HEIGHT, _CELL = 110, 480, 320, 26.0
_BAR, _BAR_WIDTH = 612, 16
_LEVELS = 10
_HATCH = 7.0


def map_svg(figure: HeatFigure, top: int) -> tuple[str, int]:
    """The body of a map and its height."""
    span = value_range(figure)
    n_rows, n_columns = len(figure.values), max(map(len, figure.values), default=0)
    if span is None or not n_columns:
        return f'<text x="16" y="{top + 10}">nothing to show</text>', top + 30
    w, h = _WIDTH / n_columns, max(min(_CELL, _MOST_HEIGHT / n_rows), 120 / n_rows)
    bottom = top + n_rows * h

    def corner(x: float, y: float) -> tuple[float, float]:
        """A place counted in cells, which are centred on whole numbers."""
        return _LEFT + (x + 0.5) * w, bottom - (y + 0.5) * h

    cells: dict[tuple[int, int], list[str]] = {}
    hatched = []
    for r, row in enumerate(figure.values):
        for c, value in enumerate(row):
            if value is None:
                continue
            x, y = corner(c - 0.5, r + 0.5)
            cells.setdefault(_shade(value, span, figure), []).append(f"M{xy(x)} {xy(y)}h{xy(w)}v{xy(h)}h-{xy(w)}z")
            if figure.is_at_least(r, c):
                hatched.append(_hatching(x, y, w, h))
    out = [_cells(shade, "".join(parts)) for shade, parts in sorted(cells.items())]
    if hatched:
        out.append(f'<path class="hatch" d="{"".join(hatched)}"/>')
    edges = (
        [(*corner(x0, y0), *corner(x1, y1)) for x0, y0, x1, y1 in sign_changes(figure)] if figure.around_zero else []
    )
    if edges:
        drawn = "".join(f"M{xy(x0)} {xy(y0)}L{xy(x1)} {xy(y1)}" for x0, y0, x1, y1 in edges)
        out.append(f'<path class="contour" d="{drawn}"/>')
    out.append(f'<rect class="axis" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{xy(n_rows * h)}"/>')
    out += _tick_texts(figure, w, h, bottom)
    out.append(_bar(figure, span, top, bottom))
    notes = [text(f"{figure.x_label} across, {figure.y_label} up; empty: none")]
    if figure.line is not None:
        name, axis, place = figure.line
        x, y = corner(place, place)
        line = f"M{xy(x)} {top}V{xy(bottom)}" if axis == "x" else f"M{_LEFT} {xy(y)}H{_LEFT + _WIDTH}"
        out.append(f'<path class="mark" stroke-width="2" d="{line}"/>')
        notes.append(f"dotted: {text(name)}")
    if hatched:
        notes.append("hatched: at least this")
    out += [f'<text x="16" y="{xy(bottom + 38 + 18 * place)}">{note}</text>' for place, note in enumerate(notes)]
    return "".join(out), math.ceil(bottom + 54 + 18 * len(notes))


def _shade(value: Number, span: tuple[float, float], figure: HeatFigure) -> tuple[int, int]:
    """Stroke and level of a value: around 0 its sign and size, else how high it stands."""
    low, high = span
    value = value or 0.0
    if figure.around_zero:
        return (BELOW if value < 0 else ABOVE), min(_LEVELS - 1, int(abs(value) / high * _LEVELS))
    place = 0.0 if high <= low else (value - low) / (high - low)
    return BELOW, min(_LEVELS - 1, int(place * _LEVELS))


def _cells(shade: tuple[int, int], path: str) -> str:
    stroke, level = shade
    return f'<path class="cell c{stroke}" fill-opacity="{0.06 + 0.94 * level / (_LEVELS - 1):.2f}" d="{path}"/>'


def _hatching(x: float, y: float, w: float, h: float) -> str:
    """Diagonal lines over one cell, cut off at its edges."""
    out = []
    offset = -(math.floor(h / _HATCH)) * _HATCH
    while offset < w:
        x0, y0 = max(0.0, offset), h - max(0.0, -offset)
        length = min(w - x0, y0)
        if length > 0:
            out.append(f"M{xy(x + x0)} {xy(y + y0)}l{xy(length)} {xy(-length)}")
        offset += _HATCH
    return "".join(out)


def _tick_texts(figure: HeatFigure, w: float, h: float, bottom: float) -> list[str]:
    n_rows, n_columns = len(figure.values), max(map(len, figure.values))
    out = []
    for r in range(0, n_rows, max(1, n_rows // 12)):
        y = bottom - (r + 0.5) * h + 4
        out.append(f'<text x="{_LEFT - 6}" y="{xy(y)}" text-anchor="end">{text(cut(figure.y_ticks[r], 14))}</text>')
    for c in range(0, n_columns, max(1, math.ceil(n_columns / 10))):
        x = _LEFT + (c + 0.5) * w
        tick = text(cut(figure.x_ticks[c], 12))
        out.append(f'<text x="{xy(x)}" y="{xy(bottom + 16)}" text-anchor="middle">{tick}</text>')
    return out


def _bar(figure: HeatFigure, span: tuple[float, float], top: int, bottom: float) -> str:
    """What the colours mean: a bar from the least to the largest value, with 0 in the middle where the sign matters."""
    low, high = span
    steps = 2 * _LEVELS if figure.around_zero else _LEVELS
    height = (bottom - top) / steps
    out = []
    for step in range(steps):
        value = low + (step + 0.5) / steps * (high - low)
        y = bottom - (step + 1) * height
        rectangle = f"M{_BAR} {xy(y)}h{_BAR_WIDTH}v{xy(height)}h-{_BAR_WIDTH}z"
        out.append(_cells(_shade(value, span, figure), rectangle))
    out.append(f'<rect class="axis" x="{_BAR}" y="{top}" width="{_BAR_WIDTH}" height="{xy(bottom - top)}"/>')
    said = [(low, bottom), (high, float(top) + 10)]
    said += [(0.0, (top + bottom) / 2 + 4)] if figure.around_zero else []
    out += [f'<text x="{_BAR + _BAR_WIDTH + 5}" y="{xy(y)}">{text(significant(v, 3))}</text>' for v, y in said]
    x, y = _BAR + _BAR_WIDTH + 62, (top + bottom) / 2
    label = text(figure.value_label)
    out.append(f'<text transform="translate({x} {y:g})rotate(-90)" text-anchor="middle">{label}</text>')
    return "".join(out)
