"""PNG and PDF by matplotlib (extra ``plot``): Figure and Agg, never pyplot; the same bytes for the same report."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from gradscope.errors import MissingExtraError
from gradscope.records import Report
from gradscope.reports.document import DiscFigure, Figure, HeatFigure, LineFigure, Number
from gradscope.reports.figure_scale import sign_changes, value_range, x_range, y_range, y_ticks
from gradscope.reports.figure_style import (
    ABOVE,
    BELOW,
    DASHES,
    GRID,
    INK,
    LIGHT_STROKES,
    PAPER,
    stroke_of,
    title_lines,
)
from gradscope.reports.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 4.2


def require() -> None:
    """Say what is missing before anything is computed.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "png and pdf figures need matplotlib, which is not installed. "
            "Install it: pip install matplotlib (svg needs nothing)"
        ) from error


def render_png(report: Report, *, verbose: bool = False, figures: Sequence[str] = ()) -> bytes:
    """Render the main figures, or those named, as one PNG."""
    return _save(report, verbose, figures, "png", {"Software": None})


def render_pdf(report: Report, *, verbose: bool = False, figures: Sequence[str] = ()) -> bytes:
    """Render the main figures, or those named, as one PDF page."""
    nobody = {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}
    return _save(report, verbose, figures, "pdf", nobody)


def _save(report: Report, verbose: bool, figures: Sequence[str], kind: str, metadata: dict[str, Any]) -> bytes:
    require()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    drawings = view(report, verbose=verbose).figures(figures)
    # A hash salt and no dates: the bytes depend on the report alone. No TeX-like markup: names are shown as they are.
    with mpl.rc_context({"svg.hashsalt": "gradscope", "text.parse_math": False, "pdf.compression": 6}):
        canvas = Canvas(figsize=(7.5, _HEIGHT * max(1, len(drawings))), layout="constrained", dpi=120)
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(max(1, len(drawings)), 1, squeeze=False)
        for ax, (heading, drawing) in zip(axes[:, 0], drawings, strict=False):
            draw(ax, drawing, heading)
        if not drawings:
            axes[0, 0].set_axis_off()
            axes[0, 0].text(0.5, 0.5, "Nothing in this result can be drawn.", ha="center")
        buffer = io.BytesIO()
        canvas.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def draw(ax: Axes, drawing: Figure, heading: str = "") -> None:
    """Draw one figure with its title on matplotlib's axes, laid out as in the SVG."""
    if isinstance(drawing, LineFigure):
        _draw_lines(ax, drawing)
    elif isinstance(drawing, DiscFigure):
        _draw_disc(ax, drawing)
    else:
        _draw_heat(ax, drawing)
    lines = "\n".join(title_lines(heading, drawing.title))
    ax.set_title(lines, fontsize=9.5, fontweight="bold", loc="left", color=INK[0])


def _floats(values: tuple[Number, ...]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _draw_lines(ax: Axes, drawing: LineFigure) -> None:
    for i, curve in enumerate(drawing.curves):
        stroke = stroke_of(curve, i)
        colour, dashes = LIGHT_STROKES[stroke], DASHES[stroke]
        wide = 1.3 if dashes else 2.2
        # Dashes are counted in line widths there and in points in the SVG.
        style = (0, tuple(dash / wide for dash in dashes)) if dashes else "-"
        ax.plot(
            curve.x,
            _floats(curve.y),
            color=colour,
            linestyle=style,
            linewidth=wide,
            label=curve.name,
            zorder=3 - i / 99,
        )
        if curve.low:
            ax.fill_between(curve.x, _floats(curve.low), _floats(curve.high), color=colour, alpha=0.18, linewidth=0)
    low, high = y_range(drawing)
    for name, y in drawing.marks:
        if low <= y <= high:
            ax.axhline(y, color=INK[0], linewidth=0.8, linestyle=":", label=name)
    pad = 0.03 * (high - low)
    (left, right), bottom = x_range(drawing), low - pad
    ax.set(xlabel=drawing.x_label, ylabel=drawing.y_label, xlim=(left, right), ylim=(bottom, high + pad))
    for name, x, y in drawing.spots:
        ax.vlines(x, bottom, y, color=INK[0], linewidth=0.8, linestyle=":")
        ax.plot([x], [y], "o", color=PAPER[0], markeredgecolor=INK[0], markeredgewidth=1.4, markersize=6, zorder=4)
        far = x > left + 0.8 * (right - left)
        side: Literal["left", "right"] = "right" if far else "left"
        place = (-7 if far else 7, 5)
        ax.annotate(name, (x, y), place, textcoords="offset points", ha=side, fontsize=8, fontweight="bold", zorder=5)
    found = y_ticks(drawing, bottom, high + pad)
    ax.set_yticks([tick for tick, _ in found], [said for _, said in found])
    ax.grid(visible=True, linewidth=0.6, color=GRID[0])
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, handlelength=3)


def _draw_disc(ax: Axes, drawing: DiscFigure) -> None:
    from matplotlib.patches import Circle, Polygon

    ax.add_patch(Circle((0, 0), 1, fill=False, linewidth=1, color=INK[0]))
    if drawing.outline:
        ax.add_patch(Polygon(drawing.outline, closed=True, alpha=0.15, color=LIGHT_STROKES[3], label="numerical range"))
        ax.legend(fontsize=8, frameon=False)
    points = [re for re, _ in drawing.points], [im for _, im in drawing.points]
    ax.plot(*points, "o", markersize=3.5, color=LIGHT_STROKES[0])
    reach = 1.1 * max([1.0, *(math.hypot(re, im) for re, im in (*drawing.points, *drawing.outline))])
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="re", ylabel="im")


def _draw_heat(ax: Axes, drawing: HeatFigure) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    span = value_range(drawing)
    ends = (
        [LIGHT_STROKES[BELOW], PAPER[0], LIGHT_STROKES[ABOVE]] if drawing.around_zero else [PAPER[0], LIGHT_STROKES[0]]
    )
    colours = LinearSegmentedColormap.from_list("gradscope", ends)
    low, high = span if span is not None else (0.0, 1.0)
    values = [_floats(row) for row in drawing.values]
    image = ax.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high)
    set_ticks: Callable[..., Any]
    for ticks, set_ticks in ((drawing.x_ticks, ax.set_xticks), (drawing.y_ticks, ax.set_yticks)):
        every = max(1, math.ceil(len(ticks) / 12))
        set_ticks(range(0, len(ticks), every), [ticks[i] for i in range(0, len(ticks), every)], fontsize=8)
    for r, row in enumerate(drawing.values):
        for c in range(len(row)):
            if drawing.is_at_least(r, c):
                ax.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, hatch="////", linewidth=0, color=INK[0]))
    if drawing.around_zero:
        for x0, y0, x1, y1 in sign_changes(drawing):
            ax.plot([x0, x1], [y0, y1], color=INK[0], linewidth=1.6)
    if drawing.line is not None:
        name, axis, place = drawing.line
        (ax.axvline if axis == "x" else ax.axhline)(place, color=INK[0], linestyle=":", label=name)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    ax.set(xlabel=drawing.x_label, ylabel=drawing.y_label)
    if ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label=drawing.value_label)
