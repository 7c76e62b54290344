"""One palette and one layout for every figure: SVG, the page, PNG and PDF, and the terminal."""

from __future__ import annotations

import textwrap

from gradscope.reports.document import Curve

#: Colours of strokes in order, on white and on black.
LIGHT_STROKES = ("#0b5cad", "#c2410c", "#7c3aed", "#15803d", "#a16207", "#be185d", "#0f766e", "#475569")
DARK_STROKES = ("#6cb6ff", "#ff9d66", "#c4a7ff", "#6fdc8c", "#e3c266", "#ff8fc0", "#5fd6c8", "#aab6c5")
#: The same in a terminal of eight colours.
TERMINAL_STROKES = ("34", "33", "35", "32", "33;2", "31", "36", "37;2")
#: Dashes tell strokes apart where colour does not; the first (the measurement, if there is one) is solid and wide.
DASHES: tuple[tuple[int, ...], ...] = (
    (), (7, 3), (2, 2), (10, 3, 2, 3), (4, 4), (12, 4), (1, 3), (6, 2, 1, 2, 1, 2),
)  # fmt: skip
INK, PAPER, GRID = ("#1c2430", "#e6eaf0"), ("#fff", "#14181f"), ("#dde2e8", "#333b47")
#: What a curve is decides its stroke; curves without such a role go by their order.
ROLES = ("measured", "theory", "eigen", "bound", "path", "corner", "loss")
#: Strokes of values below and above the middle of a map.
BELOW, ABOVE = 0, 1
TITLE_CHARACTERS = 84
_TITLE_LINES = 3


def stroke_of(curve: Curve, index: int) -> int:
    """Place of a curve's stroke in the palette."""
    return (ROLES.index(curve.role) if curve.role in ROLES else index) % len(LIGHT_STROKES)


def title_lines(heading: str, title: str) -> list[str]:
    """The heading (a source, as a rule) on a line of its own, then the title, folded where it is long."""
    lines = [part for text in (heading, title) if text for part in textwrap.wrap(text, TITLE_CHARACTERS)]
    if len(lines) > _TITLE_LINES:
        lines = [*lines[: _TITLE_LINES - 1], f"{lines[_TITLE_LINES - 1][: TITLE_CHARACTERS - 3]}..."]
    return lines or [""]
