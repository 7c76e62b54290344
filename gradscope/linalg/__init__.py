"""Matrix products whose size leaves float64: exact binary scaling, largest singular values, powers of one matrix."""

from __future__ import annotations

from gradscope.linalg.powers import PowerNorms, power_norms

__all__ = ["PowerNorms", "power_norms"]
