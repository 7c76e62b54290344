"""One row of the field table: everything there is to know about one number a report can hold."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

Part = Literal["rows", "summary"]
Type = Literal[
    "number", "integer", "count", "boolean", "text", "numbers", "texts", "pairs", "matrices", "facts", "anything"
]

NOT_COMPUTED = "not computed here"
NO_MEANING = "no meaning here"
ZERO_OR_NONE = "exactly zero, or no meaning here"
TOO_SHORT = "the run is too short for it"


@dataclass(frozen=True)
class Field:
    """A field of a verb's rows or summary.

    Attributes
    ----------
    name : str
        The key in the machine formats.
    type : str
        ``count`` is an integer of at least 0; ``numbers``, ``texts`` are lists; ``pairs`` a list of [re, im].
    title : str
        What a person reads above the column.
    meaning : str
        One sentence, without a full stop.
    unit : str
        ``log10`` for a decimal logarithm; empty where there is none.
    null : str
        What a null means; empty where there never is one.
    better : str
        ``higher``, ``lower``, ``nearer to X``, ``true``, or a word that is the good one; empty: no direction.
    shown : bool
        Whether a table for a person holds it by default.
    required : bool
        Whether every report of the verb holds it.
    compared : bool
        Whether ``diff`` compares it; intervals, spreads and clocks are the noise of something else.
    words : tuple of str
        The values a text may take, where they are known.
    """

    name: str
    type: Type
    title: str
    meaning: str
    _: KW_ONLY
    unit: str = ""
    null: str = ""
    better: str = ""
    shown: bool = False
    required: bool = False
    compared: bool = True
    words: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether it holds words, so that only ``==`` and ``!=`` make sense for it."""
        return self.type in ("text", "facts")

    @property
    def is_list(self) -> bool:
        """Whether it holds more than one number, so that no gate can compare it."""
        return self.type in ("numbers", "texts", "pairs", "matrices")

    @property
    def heading(self) -> str:
        """The title with its unit, for the head of a column."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title
