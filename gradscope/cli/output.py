"""What stdout can show, and the files that a report goes to besides."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.reports.output_files import OutputFile, Outputs

__all__ = ["OutputFile", "Outputs", "Terminal", "describe_terminal"]


@dataclass(frozen=True)
class Terminal:
    """What stdout can show."""

    width: int | None
    color: bool
    unicode: bool


def describe_terminal(color: str) -> Terminal:
    """Look at stdout and the environment: COLUMNS, NO_COLOR, FORCE_COLOR, TERM=dumb; ``--color always`` wins."""
    from gradscope.reports.table import terminal_width, wants_color, wants_unicode

    return Terminal(terminal_width(), wants_color(color), wants_unicode())
