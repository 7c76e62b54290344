"""Figures as SVG: deterministic text, light and dark, strokes told apart by dashes as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradscope.records import Report
from gradscope.reports.document import Curve, DiscFigure, Figure, LineFigure
from gradscope.reports.figure_scale import tick_text, ticks, x_range, y_range, y_ticks
from gradscope.reports.figure_style import DARK_STROKES, DASHES, GRID, INK, LIGHT_STROKES, PAPER, stroke_of, title_lines
from gradscope.reports.svg_map import map_svg
from gradscope.reports.svg_parts import cut, text, xy
from gradscope.reports.views import view

WIDTH = 720
LEFT, PLOT_WIDTH, PLOT_HEIGHT = 64, 632, 300
_TOP, _LINE = 34, 19  # under a title of one line, and for each further line
_PAD = 0.03  # of the range above and below, so that a flat curve does not run along the frame
_Axis = Callable[[float], float]


def _variables(strokes: Sequence[str], shade: int) -> str:
    named = [f"--c{i}:{colour}" for i, colour in enumerate(strokes)]
    return ";".join([f"--ink:{INK[shade]}", f"--paper:{PAPER[shade]}", f"--grid:{GRID[shade]}", *named])


def _strokes() -> str:
    rules = []
    for i, dashes in enumerate(DASHES):
        dash = f";stroke-dasharray:{' '.join(map(str, dashes))}" if dashes else ";stroke-width:2.6"
        rules.append(f".fig .c{i}{{stroke:var(--c{i}){dash}}}.fig .band.c{i}{{fill:var(--c{i})}}")
        rules.append(f".fig .cell.c{i}{{fill:var(--c{i});stroke:none}}")
    return "\n".join(rules)


LIGHT, DARK = _variables(LIGHT_STROKES, 0), _variables(DARK_STROKES, 1)
STYLE = (
    """
.fig{font:12px system-ui,sans-serif;fill:var(--ink)}
.fig .t{font-size:14px;font-weight:600}.fig .axis{stroke:var(--ink);fill:none}.fig .grid{stroke:var(--grid);fill:none}
.fig .mark{stroke:var(--ink);stroke-dasharray:2 4;fill:none}
.fig .spot{fill:var(--paper);stroke:var(--ink);stroke-width:2}
.fig .said{paint-order:stroke;stroke:var(--paper);stroke-width:4;font-weight:600}
.fig .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.fig .band{fill-opacity:.18;stroke:none!important}
.fig .point{fill:var(--c0);fill-opacity:.75;stroke:var(--paper);stroke-width:.6}
.fig .range{fill:var(--c3);fill-opacity:.12;stroke:var(--c3);stroke-dasharray:5 3}
.fig .hatch{stroke:var(--ink);stroke-width:1;stroke-opacity:.7;fill:none}
.fig .contour{stroke:var(--ink);stroke-width:2.2;fill:none}
""".lstrip()
    + _strokes()
)


def render(report: Report, *, verbose: bool = False, figures: Sequence[str] = ()) -> str:
    """Render the main figures of a report in one SVG file, or those named, one under the other."""
    pieces, top = [], 0
    for number, (heading, figure) in enumerate(view(report, verbose=verbose).figures(figures)):
        piece, height = figure_svg(figure, prefix=f"f{number}", heading=heading)
        pieces.append(f'<g transform="translate(0 {top})">{piece}</g>')
        top += height
    if not pieces:
        pieces, top = ['<text class="fig" x="16" y="28">Nothing in this result can be drawn.</text>'], 48
    style = f":root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}.paper{{fill:var(--paper)}}{STYLE}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
        f'<style>{style}</style><rect class="paper" width="{WIDTH}" height="{top}"/>\n'
        + "\n".join(pieces)
        + "\n</svg>\n"
    )


def figure_svg(figure: Figure, *, prefix: str, heading: str = "") -> tuple[str, int]:
    """One figure as an SVG group with its title and description, and its height."""
    title = f"{heading}: {figure.title}" if heading else figure.title
    top = plot_top(figure, heading)
    if isinstance(figure, LineFigure):
        body, height = _lines(figure, top)
    elif isinstance(figure, DiscFigure):
        body, height = _disc(figure, top)
    else:
        body, height = map_svg(figure, top)
    lines = "".join(
        f'<text class="t" x="16" y="{20 + _LINE * place}">{text(line)}</text>'
        for place, line in enumerate(title_lines(heading, figure.title))
    )
    return (
        f'<g class="fig" role="img" aria-labelledby="{prefix}t {prefix}d"><title id="{prefix}t">{text(title)}</title>'
        f'<desc id="{prefix}d">{text(figure.description)}</desc>{lines}'
        f"{body}</g>",
        height,
    )


def plot_top(figure: Figure, heading: str = "") -> int:
    """Where the plot begins, under its title."""
    return _TOP + _LINE * (len(title_lines(heading, figure.title)) - 1)


def _lines(figure: LineFigure, top: int) -> tuple[str, int]:
    left, width, height = LEFT, PLOT_WIDTH, PLOT_HEIGHT
    (x0, x1), (y0, y1) = x_range(figure), y_range(figure)
    pad = _PAD * (y1 - y0)
    y0, y1 = y0 - pad, y1 + pad

    def px(x: float) -> float:
        return left + (x - x0) / (x1 - x0) * width

    def py(y: float) -> float:
        # What leaves the range is drawn just outside of it, where the clip hides it.
        return min(max(top + (y1 - y) / (y1 - y0) * height, top - 50), top + height + 50)

    out = []
    for tick, said in y_ticks(figure, y0, y1):
        y = xy(py(tick))
        out.append(f'<path class="grid" d="M{left} {y}H{left + width}"/>')
        out.append(f'<text x="{left - 6}" y="{xy(py(tick) + 4)}" text-anchor="end">{text(said)}</text>')
    for tick in ticks(x0, x1, 11):
        out.append(f'<path class="grid" d="M{xy(px(tick))} {top}V{top + height}"/>')
        out.append(f'<text x="{xy(px(tick))}" y="{top + height + 16}" text-anchor="middle">{tick_text(tick)}</text>')
    out.append(f'<rect class="axis" x="{left}" y="{top}" width="{width}" height="{height}"/>')
    middle = top + height / 2
    out.append(
        f'<text x="{left + width / 2:g}" y="{top + height + 33}" text-anchor="middle">{text(figure.x_label)}</text>'
    )
    out.append(
        f'<text transform="translate(14 {middle:g})rotate(-90)" text-anchor="middle">{text(figure.y_label)}</text>'
    )
    inner = [_band(c, f"c{stroke_of(c, i)}", px, py) for i, c in enumerate(figure.curves) if c.low]
    inner += [f'<path class="mark" d="M{left} {xy(py(y))}H{left + width}"/>' for _, y in figure.marks if y0 <= y <= y1]
    for index, curve in reversed(list(enumerate(figure.curves))):
        inner.append(f'<path class="curve c{stroke_of(curve, index)}" d="{_path(curve, px, py)}"/>')
    inner += [f'<path class="mark" d="M{xy(px(x))} {xy(py(y))}V{top + height}"/>' for _, x, y in figure.spots]
    # A nested svg clips to its viewport: no clip-path, hence no further ids.
    out.append(
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
        + "".join(inner)
        + "</svg>"
    )
    out += [_spot(name, px(x), py(y)) for name, x, y in figure.spots]
    legend, bottom = _legend(figure, y0, y1, top + height + 56)
    return "".join(out) + legend, bottom


def _spot(name: str, x: float, y: float) -> str:
    """A point with its name beside it, on the side where there is room."""
    side, dx = ("end", -9) if x > LEFT + 0.8 * PLOT_WIDTH else ("start", 9)
    point = f'<circle class="spot" cx="{xy(x)}" cy="{xy(y)}" r="4.5"/>'
    if not name:
        return point
    return point + (f'<text class="said" x="{xy(x + dx)}" y="{xy(y - 7)}" text-anchor="{side}">{text(name)}</text>')


def _path(curve: Curve, px: _Axis, py: _Axis) -> str:
    parts, pen_up = [], True
    for x, y in zip(curve.x, curve.y, strict=True):
        if y is None:
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{xy(px(x))} {xy(py(y))}")
        pen_up = False
    return "".join(parts) + ("h.01" if len(parts) == 1 else "")


def _band(curve: Curve, stroke: str, px: _Axis, py: _Axis) -> str:
    held = [
        (x, a, b) for x, a, b in zip(curve.x, curve.low, curve.high, strict=True) if a is not None and b is not None
    ]
    if len(held) < 2:
        return ""
    there = "L".join(f"{xy(px(x))} {xy(py(b))}" for x, _, b in held)
    back = "L".join(f"{xy(px(x))} {xy(py(a))}" for x, a, _ in reversed(held))
    return f'<path class="band {stroke}" d="M{there}L{back}Z"/>'


def _legend(figure: LineFigure, y0: float, y1: float, top: int) -> tuple[str, int]:
    entries = [(f"curve c{stroke_of(c, i)}", c.name) for i, c in enumerate(figure.curves)]
    entries += [("mark", name) for name, y in figure.marks if y0 <= y <= y1]
    out, x, y = [], LEFT, top
    for stroke, name in entries:
        shown = cut(name, 60)
        wide = 50 + round(6.9 * len(shown))
        if x + wide > WIDTH and x > LEFT:
            x, y = LEFT, y + 20
        out.append(f'<path class="{stroke}" d="M{x} {y - 4}h28"/><text x="{x + 34}" y="{y}">{text(shown)}</text>')
        x += wide
    return "".join(out), y + 20


def _disc(figure: DiscFigure, top: int) -> tuple[str, int]:
    size = 320
    reach = 1.1 * max([1.0, *(math.hypot(re, im) for re, im in (*figure.points, *figure.outline))])
    cx, cy, unit = WIDTH / 2, top + size / 2, size / (2 * reach)
    out = [f'<path class="grid" d="M{xy(cx - size / 2)} {xy(cy)}h{size}M{xy(cx)} {top}v{size}"/>']
    if figure.outline:
        edge = "L".join(f"{xy(cx + re * unit)} {xy(cy - im * unit)}" for re, im in figure.outline)
        out.append(f'<path class="range" d="M{edge}Z"/>')
    out.append(f'<circle class="axis" cx="{xy(cx)}" cy="{xy(cy)}" r="{xy(unit)}"/>')
    out.append(f'<text x="{xy(cx + unit * 0.72 + 6)}" y="{xy(cy - unit * 0.72)}">|z| = 1</text>')
    out += [
        f'<circle class="point" cx="{xy(cx + re * unit)}" cy="{xy(cy - im * unit)}" r="3.4"/>'
        for re, im in figure.points
    ]
    if figure.outline:
        out.append(f'<text x="16" y="{top + size}">shaded: the numerical range</text>')
    return "".join(out), top + size + 16
