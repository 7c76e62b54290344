"""Step norms are factors of an upper bound: where Lanczos stops early they come out too large, never too small."""

import numpy as np

from gradscope.numerics.propagate import step_norms
from gradscope.numerics.tape import tape_of_matrices


def test_crowded_steps_are_not_below_their_norm(monkeypatch):
    """σ₁ = 1 at the top of a crowd: the Ritz value alone stops below it, by more than rounding."""
    monkeypatch.setattr("gradscope.numerics.propagate.DECOMPOSE_BELOW", 0.0)
    n, T = 150, 12
    rng = np.random.default_rng(0)
    steps = []
    for _ in range(T):
        sigma = 1.0 - 10.0 ** rng.uniform(-12, -8) * np.arange(n) ** 2
        U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
        steps.append(U * sigma @ V)
    found = step_norms(tape_of_matrices(np.stack(steps))).log10_norm
    assert found.min() > -2e-15  # the matrices themselves are rounded
    assert found.max() < 1e-9
