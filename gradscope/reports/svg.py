"""Figures as SVG: deterministic text, light and dark, strokes told apart by dashes as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.sax.saxutils import escape

from gradscope.records import Report
from gradscope.reports.document import Curve, DiscFigure, Figure, HeatFigure, LineFigure, Number
from gradscope.reports.figure_scale import beyond, tick_text, ticks, x_range, y_range
from gradscope.reports.junit import valid
from gradscope.reports.numbers import significant
from gradscope.reports.views import view

WIDTH = 720
_PLOT = (64, 34, 632, 300)  # left, top, width, height of the plot of a line figure
_ROLES = ("measured", "theory", "eigen", "bound", "path", "corner", "loss")
_LEVELS = 10
_PAD = 0.03  # of the range above and below, so that a flat curve does not run along the frame
_Axis = Callable[[float], float]

STYLE = """
.fig{font:12px system-ui,sans-serif;fill:var(--ink)}
.fig .t{font-size:14px;font-weight:600}.fig .axis{stroke:var(--ink);fill:none}.fig .grid{stroke:var(--grid);fill:none}
.fig .mark{stroke:var(--ink);stroke-dasharray:2 4;fill:none}
.fig .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.fig .c0{stroke:var(--c0);stroke-width:2.6}
.fig .c1{stroke:var(--c1);stroke-dasharray:7 3}.fig .c2{stroke:var(--c2);stroke-dasharray:2 2}
.fig .c3{stroke:var(--c3);stroke-dasharray:10 3 2 3}.fig .c4{stroke:var(--c4);stroke-dasharray:4 4}
.fig .c5{stroke:var(--c5);stroke-dasharray:12 4}.fig .c6{stroke:var(--c6);stroke-dasharray:1 3}
.fig .c7{stroke:var(--c7);stroke-dasharray:6 2 1 2 1 2}
.fig .band{fill-opacity:.18;stroke:none!important}.fig .band.c0{fill:var(--c0)}.fig .band.c1{fill:var(--c1)}
.fig .band.c2{fill:var(--c2)}.fig .band.c3{fill:var(--c3)}.fig .band.c4{fill:var(--c4)}.fig .band.c5{fill:var(--c5)}
.fig .band.c6{fill:var(--c6)}.fig .band.c7{fill:var(--c7)}
.fig .point{fill:var(--c0);fill-opacity:.75;stroke:var(--paper);stroke-width:.6}
.fig .range{fill:var(--c3);fill-opacity:.12;stroke:var(--c3);stroke-dasharray:5 3}.fig .cell{fill:var(--c0)}
""".strip()
LIGHT = (
    "--ink:#1c2430;--paper:#fff;--grid:#dde2e8;--c0:#0b5cad;--c1:#c2410c;--c2:#7c3aed;--c3:#15803d;--c4:#a16207;"
    "--c5:#be185d;--c6:#0f766e;--c7:#475569"
)
DARK = (
    "--ink:#e6eaf0;--paper:#14181f;--grid:#333b47;--c0:#6cb6ff;--c1:#ff9d66;--c2:#c4a7ff;--c3:#6fdc8c;--c4:#e3c266;"
    "--c5:#ff8fc0;--c6:#5fd6c8;--c7:#aab6c5"
)


def render(
    report: Report, *, width: int | None = None, color: bool = False, unicode: bool = True, verbose: bool = False
) -> str:
    """Render the main figures of a report in one SVG file, one under the other."""
    pieces, top = [], 0
    for number, (heading, figure) in enumerate(view(report, verbose=verbose).figures()):
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
    if isinstance(figure, LineFigure):
        body, height = _lines(figure)
    elif isinstance(figure, DiscFigure):
        body, height = _disc(figure)
    else:
        body, height = _heat(figure)
    return (
        f'<g class="fig" role="img" aria-labelledby="{prefix}t {prefix}d"><title id="{prefix}t">{text(title)}</title>'
        f'<desc id="{prefix}d">{text(figure.description)}</desc>'
        f'<text class="t" x="16" y="20">{text(_cut(title))}</text>'
        f"{body}</g>",
        height,
    )


def text(raw: str) -> str:
    """Text content of an XML element."""
    return escape(valid(raw), {'"': "&quot;"})


def _cut(title: str, most: int = 92) -> str:
    return title if len(title) <= most else f"{title[: most - 3]}..."


def xy(value: float) -> str:
    """A coordinate with two decimals at most."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def stroke_class(curve: Curve, index: int) -> str:
    """Stroke of a curve by its role; sources of an overlay go by their order."""
    place = _ROLES.index(curve.role) if curve.role in _ROLES else index
    return f"c{place % 8}"


def _lines(figure: LineFigure) -> tuple[str, int]:
    left, top, width, height = _PLOT
    (x0, x1), (y0, y1) = x_range(figure), y_range(figure)
    pad = _PAD * (y1 - y0)
    y0, y1 = y0 - pad, y1 + pad

    def px(x: float) -> float:
        return left + (x - x0) / (x1 - x0) * width

    def py(y: float) -> float:
        # What leaves the range is drawn just outside of it, where the clip hides it.
        return min(max(top + (y1 - y) / (y1 - y0) * height, top - 50), top + height + 50)

    out = []
    for tick in ticks(y0, y1):
        y = xy(py(tick))
        out.append(f'<path class="grid" d="M{left} {y}H{left + width}"/>')
        out.append(f'<text x="{left - 6}" y="{xy(py(tick) + 4)}" text-anchor="end">{tick_text(tick)}</text>')
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
    inner = [_band(c, stroke_class(c, i), px, py) for i, c in enumerate(figure.curves) if c.low]
    inner += [f'<path class="mark" d="M{left} {xy(py(y))}H{left + width}"/>' for _, y in figure.marks if y0 <= y <= y1]
    for index, curve in reversed(list(enumerate(figure.curves))):
        inner.append(f'<path class="curve {stroke_class(curve, index)}" d="{_path(curve, px, py)}"/>')
    # A nested svg clips to its viewport: no clip-path, hence no further ids.
    out.append(
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
        + "".join(inner)
        + "</svg>"
    )
    legend, bottom = _legend(figure, y0, y1, top + height + 56)
    return "".join(out) + legend, bottom


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
    entries = [(f"curve {stroke_class(c, i)}", c.name) for i, c in enumerate(figure.curves)]
    entries += [("mark", name) for name, y in figure.marks if y0 <= y <= y1]
    off = set(beyond(figure))
    out, x, y = [], 64, top
    for stroke, name in entries:
        shown = f"{name} (partly beyond the range)" if name in off and "curve" in stroke else name
        shown = _cut(shown, 60)
        wide = 50 + round(6.9 * len(shown))
        if x + wide > WIDTH and x > 64:
            x, y = 64, y + 20
        out.append(f'<path class="{stroke}" d="M{x} {y - 4}h28"/><text x="{x + 34}" y="{y}">{text(shown)}</text>')
        x += wide
    return "".join(out), y + 20


def _disc(figure: DiscFigure) -> tuple[str, int]:
    size, top = 320, 34
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


def _heat(figure: HeatFigure) -> tuple[str, int]:
    left, top, width = 110, 34, 560
    held = [v for row in figure.values for v in row if v is not None]
    n_rows, n_columns = len(figure.values), max(map(len, figure.values), default=0)
    if not held or not n_columns:
        return '<text x="16" y="44">nothing to show</text>', 64
    low, high = min(held), max(held)
    w, h = width / n_columns, min(26.0, 320 / n_rows)
    cells: dict[int, list[str]] = {}
    for r, row in enumerate(figure.values):
        y = xy(top + (n_rows - 1 - r) * h)
        for c, value in enumerate(row):
            if value is not None:
                cells.setdefault(_level(value, low, high), []).append(
                    f"M{xy(left + c * w)} {y}h{xy(w)}v{xy(h)}h-{xy(w)}z"
                )
    out = [
        f'<path class="cell" fill-opacity="{0.06 + 0.94 * level / (_LEVELS - 1):.2f}" d="{"".join(parts)}"/>'
        for level, parts in sorted(cells.items())
    ]
    bottom = top + n_rows * h
    out.append(f'<rect class="axis" x="{left}" y="{top}" width="{width}" height="{xy(n_rows * h)}"/>')
    for r in range(0, n_rows, max(1, n_rows // 12)):
        middle = top + (n_rows - r - 0.5) * h + 4
        out.append(
            f'<text x="{left - 6}" y="{xy(middle)}" text-anchor="end">{text(_cut(figure.y_ticks[r], 14))}</text>'
        )
    for c in range(0, n_columns, max(1, n_columns // 10)):
        x = left + (c + 0.5) * w
        tick = text(_cut(figure.x_ticks[c], 12))
        out.append(f'<text x="{xy(x)}" y="{xy(bottom + 16)}" text-anchor="middle">{tick}</text>')
    if figure.line is not None:
        name, axis, place = figure.line
        if axis == "x":
            out.append(f'<path class="mark" stroke-width="2" d="M{xy(left + (place + 0.5) * w)} {top}V{xy(bottom)}"/>')
        else:
            out.append(
                f'<path class="mark" stroke-width="2" d="M{left} {xy(bottom - (place + 0.5) * h)}H{left + width}"/>'
            )
        out.append(f'<text x="16" y="{xy(bottom + 74)}">dotted: {text(name)}</text>')
    said = f"{figure.value_label} from {significant(low)} (faint) to {significant(high)} (full); empty: none"
    axes = text(f"{figure.x_label} across, {figure.y_label} up")
    out.append(
        f'<text x="16" y="{xy(bottom + 38)}">{axes}</text><text x="16" y="{xy(bottom + 56)}">{text(said)}</text>'
    )
    return "".join(out), math.ceil(bottom + (90 if figure.line else 72))


def _level(value: Number, low: float, high: float) -> int:
    place = 0.0 if high <= low or value is None else (value - low) / (high - low)
    return min(_LEVELS - 1, int(place * _LEVELS))
