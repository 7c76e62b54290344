"""Plots in the terminal: braille or ASCII, never wider than asked, and readable without colour.

The measurement is a line of dots; every other curve is a row of its own letter, named in the legend.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise

from gradscope.records import Report
from gradscope.reports.canvas import Canvas
from gradscope.reports.document import Curve, DiscFigure, Figure, HeatFigure, LineFigure
from gradscope.reports.figure_scale import tick_text, ticks, value_range, x_range, y_range, y_ticks
from gradscope.reports.figure_style import ABOVE, BELOW, TERMINAL_STROKES, stroke_of
from gradscope.reports.numbers import significant, to_ascii
from gradscope.reports.views import view

_ROWS = 20
_MARGIN = 9
_LETTERS = {"theory": "t", "eigen": "e", "bound": "b", "path": "p", "corner": "h", "loss": "l"}
_Placing = Callable[[float, float], tuple[float, float]]
_SHADES = (" ░▒▓█", " .:-=")
#: Signs above 0 where a map lies around it, and of cells that are known from below only.
_ABOVE, _AT_LEAST = "+xX#", ">"


def render(
    report: Report,
    *,
    width: int | None = 80,
    color: bool = False,
    unicode: bool = True,
    figures: Sequence[str] = (),
) -> str:
    """Plot the main figures of a report, or those named, one under the other; empty where there is nothing to plot."""
    columns = max(40, min(width or 80, 160))
    parts = []
    document = view(report)
    # The verdict stands under the plots, in the answer: there is no need to read it twice on one screen.
    told = {block.text.rstrip(".") for block in document.sentences() if block.role == "verdict"}
    for heading, figure in document.figures(figures):
        titles = [text for text in (heading, figure.title) if text and text not in told]
        title = [line for text in titles for line in _folded(text, columns)]
        bold = [f"\x1b[1m{line}\x1b[0m" for line in title] if color else title
        lines = [*bold, *plot(figure, columns, unicode=unicode, color=color)]
        parts.append("\n".join(line.rstrip() for line in lines))
    text = "\n\n".join(parts) + "\n" if parts else ""
    return text if unicode else to_ascii(text)


def plot(figure: Figure, columns: int = 80, *, unicode: bool = True, color: bool = False) -> list[str]:
    """Draw one figure as lines of text; colour repeats what letters say."""
    if isinstance(figure, LineFigure):
        return _line_plot(figure, columns, unicode, color)
    if isinstance(figure, DiscFigure):
        return _disc_plot(figure, columns, unicode)
    return _heat_plot(figure, columns, unicode, color)


def _painted(text: str, stroke: int | None, *, color: bool) -> str:
    return f"\x1b[{TERMINAL_STROKES[stroke]}m{text}\x1b[0m" if color and stroke is not None else text


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


def _line_plot(figure: LineFigure, columns: int, unicode: bool, color: bool) -> list[str]:
    canvas = Canvas(columns - _MARGIN, _ROWS, unicode=unicode)
    (x0, x1), (y0, y1) = x_range(figure), y_range(figure)

    def at(x: float, y: float) -> tuple[float, float]:
        return _inside((x - x0) / (x1 - x0)), _inside((y - y0) / (y1 - y0))

    signs = letters_of(figure.curves)
    strokes = [stroke_of(curve, i) for i, curve in enumerate(figure.curves)]
    for curve, sign in zip(figure.curves, signs, strict=True):
        if not sign:
            _solid(canvas, curve, at)
    for curve, sign in zip(figure.curves, signs, strict=True):
        if sign:
            _lettered(canvas, curve, sign, at)
    for _, y in figure.marks:
        for i in range(0, canvas.columns, 2):
            canvas.letter((i + 0.5) / canvas.columns, at(x0, y)[1], "-", over=False)
    spot = "◆" if unicode else "@"
    for _, x, y in figure.spots:
        canvas.letter(*at(x, y), spot)
    found = y_ticks(figure, y0, y1, 6, unicode=unicode)
    paints = dict(zip(signs, strokes, strict=True)) if color else {}
    lines = _framed(canvas, found, lambda y: at(x0, y)[1], unicode, paints)
    lines += [_x_axis(ticks(x0, x1, 6), lambda x: at(x, y0)[0], columns), figure.x_label.rjust(columns)]
    dots = "⣀⡠⠔⠊" if unicode else "****"
    legend = [f"{sign or dots} {curve.name}" for curve, sign in zip(figure.curves, signs, strict=True)]
    legend += [f"- - {name}" for name, y in figure.marks if y0 <= y <= y1]
    legend += (
        [f"{spot} {', '.join(name or 'horizon' for name in dict.fromkeys(name for name, *_ in figure.spots))}"]
        if figure.spots
        else []
    )
    return [f"{figure.y_label}", *lines, *_listed(legend, columns)]


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


def _framed(
    canvas: Canvas,
    found: Sequence[tuple[float, str]],
    at: Callable[[float], float],
    unicode: bool,
    paints: Mapping[str, int],
) -> list[str]:
    labels: dict[int, str] = {}
    for tick, said in found:
        row = min(canvas.rows - 1, int((1 - at(tick)) * canvas.rows))
        labels[row] = said
    bar, tee = ("│", "┤") if unicode else ("|", "+")
    corner, rule = ("└", "─") if unicode else ("+", "-")
    out = [
        f"{labels.get(row, '')[: _MARGIN - 2]:>{_MARGIN - 1}}{tee if row in labels else bar}{_in_colour(text, paints)}"
        for row, text in enumerate(canvas.lines())
    ]
    return [*out, " " * (_MARGIN - 1) + corner + rule * canvas.columns]


def _in_colour(text: str, paints: Mapping[str, int]) -> str:
    """Each run of one curve's sign in that curve's colour; dots belong to the measurement."""
    if not paints:
        return text
    dots = paints.get("")
    runs = groupby(text, lambda char: dots if "\u2800" < char <= "\u28ff" or char == "*" else paints.get(char))
    return "".join(_painted("".join(run), stroke, color=True) for stroke, run in runs)


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


def _heat_plot(figure: HeatFigure, columns: int, unicode: bool, color: bool) -> list[str]:
    span = value_range(figure)
    if span is None:
        return ["nothing to show"]
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
        text = ""
        for c in shown:
            sign, stroke = _shade(figure, r, c, span, shades)
            text += _painted(sign * cell, stroke, color=color)
        here = figure.line is not None and figure.line[1] == "y" and round(figure.line[2]) == r
        lines.append(f"{figure.y_ticks[r][:margin]:>{margin}} {text}" + (" <" if here else ""))
    first, last = figure.x_ticks[0], figure.x_ticks[-1]
    gap = max(1, cell * len(shown) - len(first) - len(last))
    lines.append(" " * (margin + 1) + (first + " " * gap + last)[: columns - margin - 1])
    if figure.line is not None and figure.line[1] == "x":
        place = min(range(len(shown)), key=lambda i: abs(shown[i] - (figure.line[2] if figure.line else 0.0)))
        lines.append(" " * (margin + 1 + place * cell + cell // 2) + "^")
    return [*lines, *_folded(_scale(figure, span, shades), columns)]


def _scale(figure: HeatFigure, span: tuple[float, float], shades: str) -> str:
    """What the signs of a map mean."""
    low, high = span
    said = f"{figure.y_label} up, {figure.x_label} across; {figure.value_label}: "
    if figure.around_zero:
        said += f"'{shades[-1]}' {significant(low)} to '{shades[1]}' below 0, '{_ABOVE[0]}' above 0 to '{_ABOVE[-1]}' "
        said += significant(high)
    else:
        said += f"'{shades[1]}' {significant(low)} to '{shades[-1]}' {significant(high)}"
    said += ", blank where there is none"
    if figure.at_least:
        said += f"; '{_AT_LEAST}' beyond the run"
    if figure.line is not None:
        said += f"; {'^' if figure.line[1] == 'x' else '<'} {figure.line[0]}"
    return said


def _shade(figure: HeatFigure, row: int, column: int, span: tuple[float, float], shades: str) -> tuple[str, int | None]:
    """The sign of a cell and the stroke whose colour it has."""
    value, (low, high) = figure.values[row][column], span
    if value is None:
        return " ", None
    if figure.is_at_least(row, column):
        return _AT_LEAST, ABOVE
    if figure.around_zero:
        signs, stroke = (shades[1:], BELOW) if value < 0 else (_ABOVE, ABOVE)
        return signs[min(len(signs) - 1, int(abs(value) / high * len(signs)))], stroke
    place = 0.0 if high <= low else (value - low) / (high - low)
    levels = len(shades) - 1
    return shades[1 + min(levels - 1, int(place * levels))], BELOW
