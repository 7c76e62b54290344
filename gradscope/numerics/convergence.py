"""Whether exponents have converged, in a sentence, and how many steps it would take if not."""

from __future__ import annotations

import math

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.alignment import SHARE, Alignment
from gradscope.numerics.statistics import mean_interval

# An exponent is known if its 95 % half width is below this share of it; one that may be 0, if it is below this.
RELATIVE, ABSOLUTE = 0.25, 0.05
# Local gains stay correlated over about one memory 1/|λ_1|, so a short run does not know its own spread: with 9 to 26
# memories 6 % of the runs of an lstm claimed convergence and missed (docs/lyapunov.md).
MEMORIES = 40
# An interval this narrow, relative to the exponent, is of gains that hardly vary: then no memory has to be averaged.
STEADY = 0.02


def judge(mean: Array, half: Array, rates: Array, lengths: Array) -> tuple[bool, str]:
    """Converged if two frames agree, both halves of the run agree, and the largest exponent is known well enough."""
    steps = int(lengths.sum())
    if len(lengths) < 24:
        return False, f"{steps} steps are too few to judge convergence; use at least 48 (--steps)"
    alive = np.isfinite(mean)
    if not alive.any():
        return True, "every direction is annihilated: all exponents are minus infinity"
    drifting = _drifting(mean, rates, lengths)
    if drifting is not None:
        return False, (
            f"not converged: exponent {drifting} differs between the halves of the run; "
            f"raise --transient or --steps (now {steps})"
        )
    known, said = _width(mean[..., 0], half[..., 0], steps)
    if not known:
        return False, said
    return True, f"converged: both halves of {steps} steps agree, {said}"


def _drifting(mean: Array, rates: Array, lengths: Array) -> int | None:
    """The first exponent that differs between the halves of the run beyond chance, counted from 1."""
    middle = len(lengths) // 2
    early = mean_interval(rates[:middle], lengths=lengths[:middle])
    late = mean_interval(rates[middle:], lengths=lengths[middle:])
    with np.errstate(invalid="ignore"):
        # Twice the joint 95 % half width: four standard errors, since any of many exponents may trip it.
        allowed = 2.0 * np.hypot(early.high - early.mean, late.high - late.mean) + 1e-9 * (1.0 + np.abs(mean))
        drifting = np.isfinite(mean) & np.isfinite(early.mean) & (np.abs(late.mean - early.mean) > allowed)
    return int(np.argwhere(drifting)[0][-1]) + 1 if drifting.any() else None


def unaligned(mean: Array, half: Array, rates: Array, lengths: Array, alignment: Alignment) -> str | None:
    """Why the largest exponent may be that of another direction; None if two frames agree on it."""
    if not np.isfinite(mean[..., 0]).all():
        return None  # annihilated directions need no alignment
    group = alignment.groups()[0]
    steps = int(lengths.sum())
    leading = mean[..., : group[1] + 1]
    with np.errstate(invalid="ignore"):
        apart = leading.max(axis=-1) - leading.min(axis=-1)
        together = not alignment.is_open(group) and bool(np.all(apart <= np.nan_to_num(half[..., 0])))
    if group[1] == 0 and not alignment.is_open(group):
        together = True
    if not together:
        wanted = max(SHARE * (alignment.wanted or 4 * steps), 2 * steps)
        words = "about" if alignment.wanted else "at least"
        whose = f"exponents 1 to {group[1] + 1}" if group[1] else "exponent 1"
        total = "" if alignment.is_open(group) else f" (their sum is {float(leading.sum(axis=-1).mean()):.4g})"
        return (
            f"not converged: after {alignment.steps} steps two frames from different starts still disagree on "
            f"{whose}{total}; {words} {_two_digits_up(wanted)} steps would do"
        )
    # What the frame did before it was aligned must not show in the average.
    late = np.cumsum(lengths) > alignment.steps
    if 24 <= np.count_nonzero(late) < len(lengths):
        after = mean_interval(rates[late][..., 0], lengths=lengths[late]).mean
        if np.any(np.abs(after - mean[..., 0]) > np.nan_to_num(half[..., 0], nan=np.inf) + 1e-9):
            return (
                f"not converged: the first {alignment.steps} steps, which align the frame, still weigh in the average; "
                f"about {_two_digits_up(2 * SHARE * alignment.steps)} steps would do"
            )
    return None


def _width(first: Array, half: Array, steps: int) -> tuple[bool, str]:
    """Whether the largest exponent is known to a quarter of itself, or to be 0 within 0.05."""
    alive = np.isfinite(first)
    if not alive.any():
        return True, "the largest exponent is minus infinity"
    first, half = np.atleast_1d(first)[np.atleast_1d(alive)], np.atleast_1d(half)[np.atleast_1d(alive)]
    if np.isnan(half).any():
        return False, (
            f"not converged: {steps} steps hold fewer than 20 correlation times of the largest exponent, too few for "
            f"an interval; about {_two_digits_up(4 * steps)} steps would do"
        )
    wanted = np.where(np.abs(first) <= half, ABSOLUTE, RELATIVE * np.abs(first))
    if np.all(half <= wanted + 1e-12):
        zero = np.all(np.abs(first) <= half) and half.max() > 1e-12
        if zero:
            return True, f"the largest exponent is indistinguishable from 0 within ±{half.max():.2g}"
        memories = np.where((half > STEADY * np.abs(first)) & (np.abs(first) > half), steps * np.abs(first), np.inf)
        if memories.min() < MEMORIES:
            return False, (
                f"not converged: {steps} steps are {memories.min():.2g} memories 1/|λ_1| of the largest exponent, too "
                f"few to know its spread; about {_two_digits_up(MEMORIES * steps / memories.min())} steps would do"
            )
        return True, f"the largest exponent is known to ±{half.max():.2g}"
    needed = steps * float((half / np.maximum(wanted, 1e-300)).max()) ** 2
    needed = min(needed, steps * float(half.max() / ABSOLUTE) ** 2) if np.all(np.abs(first) <= half) else needed
    return False, (
        f"not converged: the largest exponent is known to ±{half.max():.2g} only; "
        f"about {max(_two_digits_up(needed), steps + 1)} steps would do"
    )


def unresolved(mean: Array, alignment: Alignment) -> str:
    """The groups within which directions are not told apart, each with its sum, which is known."""
    said = []
    for first, last in alignment.groups():
        if alignment.is_open((first, last)):
            said.append(f"exponent{'s' if first < last else ''} {first + 1} to {last + 1} and those that follow")
        elif first < last:
            total = float(mean[..., first : last + 1].sum(axis=-1).mean())
            said.append(f"exponents {first + 1} to {last + 1} (sum {total:.4g})")
    if not said:
        return ""
    listed = "; ".join(said[:4]) + (f"; and {len(said) - 4} more groups" if len(said) > 4 else "")
    return f"; not told apart yet: {listed}"


def _two_digits_up(number: float) -> int:
    """The next whole number of two digits and zeros: advice, not a promise.

    >>> _two_digits_up(1234.0), _two_digits_up(50.2)
    (1300, 51)
    """
    unit: int = 10 ** max(math.floor(math.log10(max(number, 1.0))) - 1, 0)
    return math.ceil(number / unit) * unit
