"""Student's t: by how many standard errors an interval reaches to either side. Plain Python, for reports too."""

from __future__ import annotations

import math
from functools import lru_cache

LEVEL = 0.95


@lru_cache(maxsize=256)
def student_quantile(degrees: int, level: float = LEVEL) -> float:
    """Two-sided Student t quantile q, P(|t| ≤ q) = level, for whole degrees of freedom.

    From the finite sums for P(|t| ≤ √ν tan θ) (Abramowitz and Stegun 26.7.3 and 26.7.4), inverted by bisection in θ;
    scipy.special would cost every start of the command line a tenth of a second.

    Examples
    --------
    >>> round(student_quantile(10), 4)
    2.2281
    """

    def probability(theta: float) -> float:
        term = math.cos(theta) if degrees % 2 else 1.0
        total = 0.0 if degrees == 1 else term
        for m in range(2 if degrees % 2 == 0 else 3, degrees, 2):
            term *= math.cos(theta) ** 2 * (m - 1) / m
            total += term
        return 2.0 / math.pi * (theta + math.sin(theta) * total) if degrees % 2 else math.sin(theta) * total

    below, above = 0.0, math.pi / 2.0
    for _ in range(60):
        middle = 0.5 * (below + above)
        below, above = (middle, above) if probability(middle) < level else (below, middle)
    return math.sqrt(degrees) * math.tan(0.5 * (below + above))
