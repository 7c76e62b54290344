"""What there is to say, in blocks: a view makes them from a report, a renderer knows nothing else.

Everything here is plain text and plain numbers, already rounded with care (``numbers``); a figure holds its raw series.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeGuard

Tone = Literal["plain", "good", "bad", "mixed", "dim"]
Number = float | int | None
#: Roles that belong together: first on a page, last in a terminal.
ANSWERS = ("verdict", "answer", "next", "code")
#: The heading of the section that judges all sources.
GATES = "Gates"


@dataclass(frozen=True)
class Sentence:
    """A line of prose; ``code`` keeps its lines.

    ``verdict`` (in bold), ``answer``, ``next`` and ``code`` belong together: first on a page, last in a terminal. A
    ``detail`` is left out of a terminal unless everything is asked for.
    """

    text: str
    role: Literal["verdict", "answer", "next", "note", "warning", "code"] = "note"
    tone: Tone = "plain"
    detail: bool = False


@dataclass(frozen=True)
class Column:
    """A column: ``priority`` 0 is never dropped, higher numbers go first where the terminal is narrow.

    Only a ``wrap`` column (prose) is ever folded over several lines. ``unit`` stands under the title, or behind it.
    """

    title: str
    align: Literal["left", "right"] = "right"
    priority: int = 0
    meaning: str = ""
    wrap: bool = False
    unit: str = ""

    @property
    def heading(self) -> str:
        """Title and unit in one line."""
        return f"{self.title.strip()} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Table:
    """Cells of text under columns; ``caption`` says what the rows are.

    A ``folded`` table stands closed on a page, under its caption; a ``detail`` is left out of a terminal unless
    everything is asked for.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[Tone, ...] = ()
    folded: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a figure; ``role`` picks its stroke, ``low``/``high`` an interval around it."""

    name: str
    role: str
    x: tuple[float, ...]
    y: tuple[Number, ...]
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()


@dataclass(frozen=True)
class LineFigure:
    """Curves over a shared axis.

    A ``minor`` figure stands in the HTML report only; plots and figure files show the others, or those picked by
    ``name``. With ``powers`` the y values are decimal logarithms and the axis says 10 to the power of them. ``spots``
    are points of a curve that are marked and named.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    marks: tuple[tuple[str, float], ...] = ()  # horizontal lines: name and y
    minor: bool = False
    name: str = ""
    powers: bool = False
    spots: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class DiscFigure:
    """Points of the complex plane on the unit disc, with an outline (the numerical range) where known."""

    title: str
    description: str
    points: tuple[tuple[float, float], ...]
    outline: tuple[tuple[float, float], ...] = ()
    minor: bool = False
    name: str = ""


@dataclass(frozen=True)
class HeatFigure:
    """A matrix of numbers over two named axes, ``values[row][column]``.

    ``line`` marks where theory expects a change: its name, the axis (``x`` or ``y``), and the place counted in cells.
    With ``around_zero`` the sign decides the colour and a line runs where it changes. ``at_least[row][column]`` says
    of which cells only a lower bound is known; they are hatched.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    value_label: str
    x_ticks: tuple[str, ...]
    y_ticks: tuple[str, ...]
    values: tuple[tuple[Number, ...], ...]
    minor: bool = False
    line: tuple[str, Literal["x", "y"], float] | None = None
    name: str = ""
    around_zero: bool = False
    at_least: tuple[tuple[bool, ...], ...] = ()

    def is_at_least(self, row: int, column: int) -> bool:
        """Whether a cell holds a lower bound."""
        return bool(self.at_least) and self.at_least[row][column]


Figure = LineFigure | DiscFigure | HeatFigure
Block = Sentence | Table | LineFigure | DiscFigure | HeatFigure


@dataclass(frozen=True)
class Section:
    """A heading (one source, as a rule) and what is said under it.

    What speaks of all of them has no heading; ``label`` is what a page calls it.
    """

    heading: str
    blocks: tuple[Block, ...]
    subheading: str = ""
    label: str = "Side by side"


@dataclass(frozen=True)
class Document:
    """A whole report: a title, the line on how it was made, sections, and how to make it again."""

    title: str
    made_by: str
    sections: tuple[Section, ...]
    reproduce: str = ""
    origin: str = ""  # made_by in a few words

    def sentences(self) -> list[Sentence]:
        """Every sentence of every section."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Sentence)]

    def figures(self, names: Collection[str] = ()) -> list[tuple[str, Figure]]:
        """The figures that are not minor, or those of the names given, each under its section's heading.

        Where a section without a heading (the side by side) has figures, they stand for those of the single sources.
        """
        if names:
            every = [(section.heading, block) for section in self.sections for block in section.blocks]
            return [(heading, block) for heading, block in every if _is_figure(block) and block.name in names]
        held = [(section.heading, block) for section in self.sections for block in section.blocks if _is_major(block)]
        return [pair for pair in held if not pair[0]] or held


def _is_figure(block: Block) -> TypeGuard[Figure]:
    return isinstance(block, LineFigure | DiscFigure | HeatFigure)


def _is_major(block: Block) -> TypeGuard[Figure]:
    return _is_figure(block) and not block.minor
