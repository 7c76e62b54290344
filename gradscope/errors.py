"""What gradscope raises: the question was wrong (2), or the input cannot be read or trusted (3).

Every message is one or two lines: what was wanted, what came, what to do next.
Only the command line turns these into exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GradscopeError(Exception):
    """Base of everything gradscope raises on purpose."""


class UsageError(GradscopeError, ValueError):
    """The question is wrong: an unknown key, a bad value, an impossible size (exit 2)."""


class InputError(GradscopeError, ValueError):
    """A file cannot be read, is ambiguous, or does not hold what was asked for (exit 3)."""


class ShapeError(InputError):
    """Arrays whose shapes do not fit together: what was wanted, what came (exit 3)."""


class MissingExtraError(InputError):
    """An optional library is needed; the message names the one line that installs it (exit 3)."""


class UntrustedNumbersError(GradscopeError, ArithmeticError):
    """The numbers came out in a way that cannot be trusted (exit 3)."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'gain'?"``, or an empty string when nothing known is close.

    >>> did_you_mean("gian", ["gain", "bias"])
    " Did you mean 'gain'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
