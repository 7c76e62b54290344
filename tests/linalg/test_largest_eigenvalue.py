"""The largest eigenvalue: ties, near ties, rank one, zero, on both sides of the switch."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.linalg.largest_eigenvalue import ALL_UP_TO, largest_eigenvalues

SPECTRA = {
    "separated": lambda r: 2.0 ** -np.arange(r),
    "flat": lambda r: np.ones(r),
    "gap 1e-9": lambda r: np.r_[1.0, 1 - 1e-9, np.linspace(0.9, 0, r)][:r],
    "crowded edge": lambda r: 1 - np.linspace(0, 1, r) ** 2,
    "rank one": lambda r: np.r_[1.0, np.zeros(r)][:r],
    "zero": lambda r: np.zeros(r),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("r", [1, 2, 20, ALL_UP_TO, ALL_UP_TO + 1, 150])
def test_the_largest_of_a_known_spectrum(name: str, r: int) -> None:
    rng = np.random.default_rng(r)
    values = SPECTRA[name](r)
    G = []
    for _ in range(3):
        Q = np.linalg.qr(rng.normal(size=(r, r)))[0]
        M = (Q * values) @ Q.T
        G.append((M + M.T) / 2)
    found = largest_eigenvalues(np.array(G).reshape(3, 1, r, r))
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found, values.max(), rtol=0, atol=r * 1e-15)
