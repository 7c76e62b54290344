"""Numbers as a person reads them: short, and never rounded across a threshold that a verdict hangs on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from gradscope.text import printable, printable_lines

__all__ = ["NULL", "count", "fixed", "is_null", "log_value", "printable", "printable_lines", "significant", "to_ascii"]

NULL = "-"


def is_null(value: Any) -> bool:
    """Whether a cell of a record holds nothing: None, or a NaN or infinity (which leave as null).

    >>> [is_null(v) for v in (None, float("nan"), 0.0, "x")]
    [True, True, False, False]
    """
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _side(value: float, threshold: float) -> int:
    return (value > threshold) - (value < threshold)


def fixed(value: float | None, decimals: int = 3, *, against: Iterable[float | None] = (), sign: bool = False) -> str:
    """Write ``value`` with ``decimals`` places, or as many more as keep it on its side of every threshold.

    >>> fixed(0.99996, 3), fixed(0.99996, 3, against=[1.0]), fixed(-0.0001, 2, against=[0.0])
    ('1.000', '0.99996', '-0.0001')
    """
    if is_null(value):
        return NULL
    assert value is not None
    thresholds = list(against)
    text, places = _shortest(float(value), decimals, "f", thresholds)
    if places > decimals + 4 and abs(value) < 1e-4:
        text, _ = _shortest(float(value), 1, "e", thresholds)
    if text.startswith("-") and float(text) == 0:
        text = text[1:]
    return f"+{text}" if sign and float(text) > 0 else text


def _shortest(value: float, least: int, kind: str, against: Iterable[float | None]) -> tuple[str, int]:
    """The value with as few digits, ``least`` or more, as keep it on its side of every threshold; and how many."""
    thresholds = [float(t) for t in against if t is not None and math.isfinite(t)]
    for places in range(least, 18):
        text = f"{value:.{places}{kind}}"
        if all(_side(float(text), t) == _side(value, t) for t in thresholds):
            return text, places
    return repr(value), 18


def log_value(value: float | None, *, against: Iterable[float | None] = ()) -> str:
    """Write a log10 value in at most about eight characters.

    >>> log_value(-1.23456), log_value(-1234.5678), log_value(None)
    ('-1.235', '-1234.6', '-')
    """
    if is_null(value):
        return NULL
    assert value is not None
    decimals = 3 if abs(value) < 100 else 2 if abs(value) < 1000 else 1
    return fixed(value, decimals, against=against)


def significant(value: Any, digits: int = 4, *, against: Iterable[float | None] = ()) -> str:
    """Write a number with ``digits`` significant digits, or more where a threshold asks for them.

    >>> significant(1234567.0), significant(0.5), significant(1.0000001, against=[1.0]), significant(7)
    ('1.235e+06', '0.5', '1.0000001', '7')
    """
    if is_null(value):
        return NULL
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    return _shortest(float(value), digits, "g", against)[0]


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Count something in words.

    >>> count(1, "lag"), count(3, "lag")
    ('1 lag', '3 lags')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


_ASCII = {
    "′": "'", "″": "''", "−": "-", "–": "-", "—": "-", "…": "...", "·": "*", "×": "x", "≤": "<=", "≥": ">=",
    "≠": "!=", "≈": "~", "±": "+-", "‖": "||", "∂": "d", "Σ": "sum ", "Π": "prod ", "∏": "prod ", "ρ": "rho",
    "λ": "lambda", "Λ": "Lambda", "σ": "sigma", "γ": "gamma", "κ": "kappa", "φ": "phi", "χ": "chi", "ε": "eps",
    "²": "^2", "³": "^3", "⁻": "^-", "¹": "1", "₁": "_1", "₂": "_2", "₀": "_0", "ₜ": "_t", "⊙": "*", "→": "->",
    "∈": "in", "∞": "inf", "√": "sqrt", "ᵏ": "^k", "ᵀ": "^T", "⋯": "...", "⋆": "*", "«": '"', "»": '"',
}  # fmt: skip


def to_ascii(text: str) -> str:
    r"""Spell mathematical signs in ASCII; anything else beyond ASCII becomes a backslash escape.

    >>> to_ascii("tanh′ ≤ 1, ‖W‖₂")
    "tanh' <= 1, ||W||_2"
    """
    spelled = "".join(_ASCII.get(char, char) for char in text)
    return spelled.encode("ascii", "backslashreplace").decode("ascii")
