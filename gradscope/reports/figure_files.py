"""PNG and PDF by matplotlib (extra ``plot``): Figure and Agg, never pyplot; the same bytes for the same report."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradscope.errors import MissingExtraError
from gradscope.records import Report
from gradscope.reports.document import DiscFigure, Figure, HeatFigure, LineFigure, Number
from gradscope.reports.figure_scale import x_range, y_range
from gradscope.reports.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STROKES: dict[str, tuple[str, Any]] = {
    "measured": ("#0b5cad", "-"),
    "theory": ("#c2410c", (0, (7, 3))),
    "eigen": ("#7c3aed", (0, (2, 2))),
    "bound": ("#15803d", (0, (10, 3, 2, 3))),
    "path": ("#a16207", (0, (4, 4))),
    "corner": ("#be185d", (0, (12, 4))),
    "loss": ("#0f766e", (0, (1, 3))),
}
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
            "Install it: pip install 'gradscope-rnn[plot]' (svg needs nothing)"
        ) from error


def render_png(
    report: Report, *, width: int | None = None, color: bool = False, unicode: bool = True, verbose: bool = False
) -> bytes:
    """Render the main figures as one PNG."""
    return _save(report, verbose, "png", {"Software": None})


def render_pdf(
    report: Report, *, width: int | None = None, color: bool = False, unicode: bool = True, verbose: bool = False
) -> bytes:
    """Render the main figures as one PDF page."""
    return _save(report, verbose, "pdf", {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None})


def _save(report: Report, verbose: bool, kind: str, metadata: dict[str, Any]) -> bytes:
    require()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    drawings = view(report, verbose=verbose).figures()
    # A hash salt and no dates: the bytes depend on the report alone. No TeX-like markup: names are shown as they are.
    with mpl.rc_context({"svg.hashsalt": "gradscope", "text.parse_math": False, "pdf.compression": 6}):
        canvas = Canvas(figsize=(7.5, _HEIGHT * max(1, len(drawings))), layout="constrained", dpi=120)
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(max(1, len(drawings)), 1, squeeze=False)
        for ax, (heading, drawing) in zip(axes[:, 0], drawings, strict=False):
            draw(ax, drawing)
            ax.set_title(f"{heading}: {drawing.title}" if heading else drawing.title, fontsize=10)
        if not drawings:
            axes[0, 0].set_axis_off()
            axes[0, 0].text(0.5, 0.5, "Nothing in this result can be drawn.", ha="center")
        buffer = io.BytesIO()
        canvas.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def draw(ax: Axes, drawing: Figure) -> None:
    """Draw one figure on matplotlib's axes."""
    if isinstance(drawing, LineFigure):
        _draw_lines(ax, drawing)
    elif isinstance(drawing, DiscFigure):
        _draw_disc(ax, drawing)
    else:
        _draw_heat(ax, drawing)


def _floats(values: tuple[Number, ...]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _draw_lines(ax: Axes, drawing: LineFigure) -> None:
    for i, curve in enumerate(drawing.curves):
        colour, dashes = _STROKES.get(curve.role, (f"C{i}", "-" if not i else (0, (2 + i, 2))))
        wide = 2.2 if curve.role in ("measured", "source0") else 1.2
        ax.plot(curve.x, _floats(curve.y), color=colour, linestyle=dashes, linewidth=wide, label=curve.name)
        if curve.low:
            ax.fill_between(curve.x, _floats(curve.low), _floats(curve.high), color=colour, alpha=0.18, linewidth=0)
    low, high = y_range(drawing)
    for name, y in drawing.marks:
        if low <= y <= high:
            ax.axhline(y, color="black", linewidth=0.8, linestyle=":", label=name)
    pad = 0.02 * (high - low)
    ax.set(xlabel=drawing.x_label, ylabel=drawing.y_label, xlim=x_range(drawing), ylim=(low - pad, high + pad))
    ax.grid(visible=True, linewidth=0.3)
    ax.legend(fontsize=7, loc="best")


def _draw_disc(ax: Axes, drawing: DiscFigure) -> None:
    from matplotlib.patches import Circle, Polygon

    ax.add_patch(Circle((0, 0), 1, fill=False, linewidth=1))
    if drawing.outline:
        ax.add_patch(Polygon(drawing.outline, closed=True, alpha=0.15, color="#15803d", label="numerical range"))
        ax.legend(fontsize=7)
    ax.plot([re for re, _ in drawing.points], [im for _, im in drawing.points], "o", markersize=3.5, color="#0b5cad")
    reach = 1.1 * max([1.0, *(math.hypot(re, im) for re, im in (*drawing.points, *drawing.outline))])
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="re", ylabel="im")


def _draw_heat(ax: Axes, drawing: HeatFigure) -> None:
    from matplotlib.image import AxesImage

    values = [_floats(row) for row in drawing.values]
    image: AxesImage = ax.imshow(values, origin="lower", aspect="auto", cmap="viridis")
    set_ticks: Callable[..., Any]
    for ticks, set_ticks in ((drawing.x_ticks, ax.set_xticks), (drawing.y_ticks, ax.set_yticks)):
        every = max(1, len(ticks) // 10)
        set_ticks(range(0, len(ticks), every), [ticks[i] for i in range(0, len(ticks), every)], fontsize=7)
    if drawing.line is not None:
        name, axis, place = drawing.line
        (ax.axvline if axis == "x" else ax.axhline)(place, color="black", linestyle=":", label=name)
        ax.legend(fontsize=7)
    ax.set(xlabel=drawing.x_label, ylabel=drawing.y_label)
    if ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label=drawing.value_label)
