"""Pieces that every SVG drawing is written with."""

from __future__ import annotations

from xml.sax.saxutils import escape

from gradscope.reports.junit import valid


def text(raw: str) -> str:
    """Text content of an XML element."""
    return escape(valid(raw), {'"': "&quot;"})


def cut(title: str, most: int) -> str:
    """A text of at most ``most`` characters."""
    return title if len(title) <= most else f"{title[: most - 3]}..."


def xy(value: float) -> str:
    """A coordinate with two decimals at most."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
