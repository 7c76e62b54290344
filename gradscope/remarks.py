"""Remarks that come with every run of a kind: always true, so that a person reads them once, unlike a warning.

Whoever writes such a sentence begins it with one of these phrases; the reports know it by them and set it in grey.
In records it stands among the warnings, as every assumption does.
"""

from __future__ import annotations

#: A trained network was given noise.
GENERATED_INPUT = "driven by generated input"
#: Nothing to differentiate: the file has no readout, or several.
NO_LOSS = "no loss: "
#: A convention that the file does not state; the sentence names the key that settles it.
_ASSUMED = (" was assumed", " assumed to ", " settles it")


def comes_always(warning: str) -> bool:
    """Whether a warning speaks of this kind of source rather than of this run.

    >>> comes_always("no loss: the file has no readout of width 8"), comes_always("the product is exactly zero")
    (True, False)
    """
    return warning.startswith((GENERATED_INPUT, NO_LOSS)) or any(phrase in warning for phrase in _ASSUMED)
