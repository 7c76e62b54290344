"""Plots in the terminal: braille or ASCII, never wider than asked, and readable without colour.

The measurement is a line of dots; every other curve is a row of its own letter, named in the legend.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise

from gradscope.records import Report
from gradscope.reports.canvas import Canvas
from gradscope.reports.document import Curve, DiscFigure, Figure, HeatFigure, LineFigure
from gradscope.reports.figure_scale import beyond, tick_text, ticks, x_range, y_range
from gradscope.reports.numbers import significant, to_ascii
from gradscope.reports.views import view

_ROWS = 20
_MARGIN = 9
_LETTERS = {"theory": "t", "eigen": "e", "bound": "b", "path": "p", "corner": "h", "loss": "l"}
_Placing = Callable[[float, float], tuple[float, float]]
_SHADES = (" ░▒▓█", " .:-=+*#%@")


def render(
    report: Report, *, width: int | None = 80, color: bool = False, unicode: bool = True, verbose: bool = False
) -> str:
    """Plot the main figures of a report, one under the other; an empty string where there is nothing to plot."""
    columns = max(40, min(width or 80, 160))
    parts = []
    for heading, figure in view(report, verbose=verbose).figures():
        title = f"{heading}: {figure.title}" if heading else figure.title
        lines = [*_folded(title, columns), *plot(figure, columns, unicode=unicode)]
        parts.append("\n".join(line.rstrip() for line in lines))
    text = "\n\n".join(parts) + "\n" if parts else ""
    return text if unicode else to_ascii(text)


def plot(figure: Figure, columns: int = 80, *, unicode: bool = True) -> list[str]:
    """Draw one figure as lines of text."""
    if isinstance(figure, LineFigure):
        return _line_plot(figure, columns, unicode)
    if isinstance(figure, DiscFigure):
        return _disc_plot(figure, columns, unicode)
    return _heat_plot(figure, columns, unicode)


def _folded(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_long_words=True) or [""]


def _listed(items: Sequence[str], columns: int) -> list[str]:
    """Items on as few lines as they take, none of them broken where it fits on a line."""
    lines = [""]
    for item in items:
        joined = f"{lines[-1]}   {item}" if lines[-1] else item
        lines[-1:] = [joined] if len(joined) <= columns else [lines[-1], item] if lines[-1] else [item]
    return [part for line in lines for part in _folded(line, columns)]


def letters_of(curves: Sequence[Curve]) -> list[str]:
    """A sign per curve: the dots for the measurement, a letter of its own for each other one."""
    out = []
    for i, curve in enumerate(curves):
        if curve.role in ("measured", "source0"):
            out.append("")
        elif curve.role in _LETTERS and _LETTERS[curve.role] not in out:
            out.append(_LETTERS[curve.role])
        else:
            out.append(next(c for c in "abcdefghijklmnopqrstuvwxyz"[i % 26 :] + "ABCDEFGHIJ" if c not in out))
    return out


def _line_plot(figure: LineFigure, columns: int, unicode: bool) -> list[str]:
    canvas = Canvas(columns - _MARGIN, _ROWS, unicode=unicode)
    (x0, x1), (y0, y1) = x_range(figure), y_range(figure)

    def at(x: float, y: float) -> tuple[float, float]:
        return _inside((x - x0) / (x1 - x0)), _inside((y - y0) / (y1 - y0))

    signs = letters_of(figure.curves)
    for curve, sign in zip(figure.curves, signs, strict=True):
        if not sign:
            _solid(canvas, curve, at)
    for curve, sign in zip(figure.curves, signs, strict=True):
        if sign:
            _lettered(canvas, curve, sign, at)
    for _, y in figure.marks:
        for i in range(0, canvas.columns, 2):
            canvas.letter((i + 0.5) / canvas.columns, at(x0, y)[1], "-", over=False)
    lines = _framed(canvas, ticks(y0, y1, 6), lambda y: at(x0, y)[1], unicode)
    lines += [_x_axis(ticks(x0, x1, 6), lambda x: at(x, y0)[0], columns), figure.x_label.rjust(columns)]
    dots = "⣀⡠⠔⠊" if unicode else "****"
    legend = [f"{sign or dots} {curve.name}" for curve, sign in zip(figure.curves, signs, strict=True)]
    legend += [f"- - {name}" for name, y in figure.marks if y0 <= y <= y1]
    out = [f"{figure.y_label}", *lines, *_listed(legend, columns)]
    off = beyond(figure)
    return [*out, *_folded(f"partly beyond the range shown: {', '.join(off)}", columns)] if off else out


def _inside(fraction: float) -> float:
    # Rounding must not push the first or last point off the canvas.
    return min(1.0, max(0.0, fraction)) if -1e-9 <= fraction <= 1 + 1e-9 else fraction


def _solid(canvas: Canvas, curve: Curve, at: _Placing) -> None:
    last: tuple[float, float] | None = None
    for x, y in zip(curve.x, curve.y, strict=True):
        here = None if y is None else at(x, y)
        if here is not None:
            canvas.line(*(last or here), *here)
        last = here


def _lettered(canvas: Canvas, curve: Curve, sign: str, at: _Placing) -> None:
    held = [at(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
    for (xa, ya), (xb, yb) in zip(held, held[1:] or held, strict=False):
        steps = max(1, round(abs(xb - xa) * canvas.columns))
        for i in range(steps):
            canvas.letter(xa + (xb - xa) * i / steps, ya + (yb - ya) * i / steps, sign, over=False)


def _framed(canvas: Canvas, y_ticks: Sequence[float], at: Callable[[float], float], unicode: bool) -> list[str]:
    labels: dict[int, str] = {}
    for tick in y_ticks:
        row = min(canvas.rows - 1, int((1 - at(tick)) * canvas.rows))
        labels[row] = tick_text(tick)
    bar, tee = ("│", "┤") if unicode else ("|", "+")
    corner, rule = ("└", "─") if unicode else ("+", "-")
    out = [
        f"{labels.get(row, '')[: _MARGIN - 2]:>{_MARGIN - 1}}{tee if row in labels else bar}{text}"
        for row, text in enumerate(canvas.lines())
    ]
    return [*out, " " * (_MARGIN - 1) + corner + rule * canvas.columns]


def _x_axis(x_ticks: Sequence[float], at: Callable[[float], float], columns: int) -> str:
    line = [" "] * columns
    for tick in x_ticks:
        text = tick_text(tick)
        middle = _MARGIN + at(tick) * (columns - _MARGIN)
        start = max(0, min(columns - len(text), round(middle - len(text) / 2)))
        if all(char == " " for char in line[max(0, start - 1) : start + len(text) + 1]):
            line[start : start + len(text)] = text
    return "".join(line)


def _disc_plot(figure: DiscFigure, columns: int, unicode: bool) -> list[str]:
    rows = 24
    across = min(columns, 2 * rows)
    canvas = Canvas(across, rows, unicode=unicode)
    reach = 1.08 * max([1.0, *(math.hypot(re, im) for re, im in (*figure.points, *figure.outline))])

    def at(re: float, im: float) -> tuple[float, float]:
        return 0.5 + re / (2 * reach), 0.5 + im / (2 * reach)

    for i in range(720):
        canvas.dot(*at(math.cos(i * math.pi / 360), math.sin(i * math.pi / 360)))
    closed = (*figure.outline, *figure.outline[:1])
    for (ra, ia), (rb, ib) in pairwise(closed):
        for i in range(8):
            x, y = at(ra + (rb - ra) * i / 8, ia + (ib - ia) * i / 8)
            canvas.letter(x, y, "~", over=False)
    canvas.letter(*at(0.0, 0.0), "+", over=False)
    mark = "●" if unicode else "o"
    for re, im in figure.points:
        canvas.letter(*at(re, im), mark)
    legend = f"{mark} eigenvalue   {'⠒⠒' if unicode else '**'} unit circle   + origin"
    legend += "   ~ numerical range" if figure.outline else ""
    return [*canvas.lines(), *_folded(legend, columns), *_folded(figure.description, columns)]


def _heat_plot(figure: HeatFigure, columns: int, unicode: bool) -> list[str]:
    held = [v for row in figure.values for v in row if v is not None]
    if not held:
        return ["nothing to show"]
    low, high = min(held), max(held)
    shades = _SHADES[0] if unicode else _SHADES[1]
    margin = min(14, max(map(len, figure.y_ticks)))
    n = len(figure.x_ticks)
    across = columns - margin - 4
    cell = max(1, min(8, across // n))
    shown = sorted({i * n // min(n, across) for i in range(min(n, across))})
    tall = len(figure.values)
    picked = sorted({i * tall // min(tall, 40) for i in range(min(tall, 40))})
    lines = []
    for r in reversed(picked):
        text = "".join(_shade(figure.values[r][c], low, high, shades) * cell for c in shown)
        here = figure.line is not None and figure.line[1] == "y" and round(figure.line[2]) == r
        lines.append(f"{figure.y_ticks[r][:margin]:>{margin}} {text}"[: columns - 2] + (" <" if here else ""))
    first, last = figure.x_ticks[0], figure.x_ticks[-1]
    gap = max(1, cell * len(shown) - len(first) - len(last))
    lines.append(" " * (margin + 1) + (first + " " * gap + last)[: columns - margin - 1])
    if figure.line is not None and figure.line[1] == "x":
        place = min(range(len(shown)), key=lambda i: abs(shown[i] - (figure.line[2] if figure.line else 0.0)))
        lines.append(" " * (margin + 1 + place * cell + cell // 2) + "^")
    scale = f"{figure.y_label} up, {figure.x_label} across; {figure.value_label}: "
    scale += f"'{shades[1]}' {significant(low)} to '{shades[-1]}' {significant(high)}, blank where there is none"
    if figure.line is not None:
        scale += f"; {'^' if figure.line[1] == 'x' else '<'} {figure.line[0]}"
    return [*lines, *_folded(scale, columns)]


def _shade(value: float | int | None, low: float, high: float, shades: str) -> str:
    if value is None:
        return " "
    levels = len(shades) - 1
    place = 0.0 if high <= low else (value - low) / (high - low)
    return shades[1 + min(levels - 1, int(place * levels))]
