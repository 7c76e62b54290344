"""The transient of ‖Wᵏ‖: how high, when, and with a proof that nothing higher follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2
from gradscope.theory.eigen import Eigendecomposition, eigendecompose
from gradscope.theory.power_norms import power_norms
from gradscope.theory.schur import EPS, power_of_two_scale, square_matrix

#: Up to this size products stay full, so that exact cancellations stay exact.
COMPRESS_FROM = 64


@dataclass(frozen=True)
class PowerPeak:
    """max_{k≥0} ‖Wᵏ‖₂ and where.

    Attributes
    ----------
    k : int
        The first maximiser.
    log10_norm : float
        log10 ‖Wᵏ‖₂ ≥ 0 (k = 0 gives 1).
    proven : bool
        A computed power m with ‖Wᵐ‖ < 1 was reached, and rounding alone does not carry ρ(W) to 1:
        ‖W^{qm+r}‖ ≤ ‖Wᵐ‖^q max_{j<m}‖Wʲ‖, so no later power is larger.
    """

    k: int
    log10_norm: float
    proven: bool


def peak_power(
    W: Array, *, decomposition: Eigendecomposition | None = None, max_steps: int | None = None
) -> PowerPeak | None:
    """Scan ‖Wᵏ‖, k = 0, 1, …, until ‖Wᵐ‖ < 1 proves that the maximum is behind.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    decomposition : Eigendecomposition, optional
        Of this W, if it is at hand already.
    max_steps : int, optional
        Powers scanned one by one; default 50 000 for n ≤ 64, falling like 1/n² to 4000. Beyond them the peak is looked
        for on powers found by repeated squaring, assuming one hump, and ``proven`` is False.

    Returns
    -------
    PowerPeak or None
        None if ρ(W) ≥ 1, where there need not be a maximum. Where rounding alone may carry ρ across 1, what the
        computed powers show in 2000 steps, with ``proven`` False.

    Examples
    --------
    >>> import numpy as np
    >>> peak = peak_power(0.9 * np.eye(4) + np.eye(4, k=1))
    >>> peak.k, round(10**peak.log10_norm, 2), peak.proven
    (29, 238.45, True)
    """
    A = square_matrix(W)
    n = A.shape[0]
    known = eigendecompose(A) if decomposition is None else decomposition
    if known.spectral_radius >= 1:
        return None
    if known.is_normal:
        return PowerPeak(0, 0.0, True)  # ‖Wᵏ‖ = ρᵏ
    decided = known.spectral_radius_high < 1
    budget = max_steps if max_steps is not None else max(4000, min(50_000, 50_000 * 64 * 64 // n**2))
    budget = budget if decided else min(budget, 2000)
    best_k, best, k = 0, 0.0, 0
    for k, (X, exponent) in enumerate(_running_powers(A)):
        offset = exponent * LOG10_2
        frobenius = float(np.log10(np.linalg.norm(X))) + offset
        if frobenius < 0:
            return PowerPeak(best_k, best, decided)
        # ‖X‖_F/√r ≤ ‖X‖₂ ≤ ‖X‖_F: the norm itself is needed only where it may be a record or the end.
        may_end = k > 0 and frobenius < 0.5 * np.log10(min(X.shape)) and (X.shape[0] <= COMPRESS_FROM or k % 8 == 0)
        if frobenius > best or may_end:
            log10_norm = float(np.log10(_norm(X))) + offset
            # A later maximum counts only beyond rounding, so that a plateau reports its first lag.
            if log10_norm > best + 1e-14:
                best_k, best = k, log10_norm
            if k and log10_norm < 0:
                return PowerPeak(best_k, best, decided)
        if k >= budget:
            break
    else:
        return PowerPeak(best_k, best, True)  # W^(k+1) = 0 exactly
    if not decided:
        return PowerPeak(best_k, best, False)
    far_k, far = _one_hump_peak(A, k)
    return PowerPeak(far_k, far, False) if far > best else PowerPeak(best_k, best, False)


def log10_power_norms(W: Array, n_powers: int) -> Array:
    """log10 ‖Wᵏ‖₂ for k = 0 … n_powers; −inf from the power that is exactly zero.

    Nothing over- or underflows (:func:`gradscope.theory.power_norms.power_norms`).

    Returns
    -------
    ndarray, shape (n_powers + 1,)

    Examples
    --------
    >>> import numpy as np
    >>> log10_power_norms(np.array([[0.0, 10.0], [0.0, 0.0]]), 2).tolist()
    [0.0, 1.0, -inf]
    """
    A = square_matrix(W)
    if np.iscomplexobj(A):
        # As a real matrix on (Re, Im): every singular value twice.
        A = np.block([[A.real, -A.imag], [A.imag, A.real]])
    found = power_norms(A, n_powers)
    return np.asarray(np.where(found.zero, -np.inf, found.log10_norm))


def nilpotency_by_pattern(W: Array) -> int | None:
    """The power from which Wᵏ = 0 whatever the values: nodes on the longest path of W's graph; None if it has a cycle.

    Examples
    --------
    >>> import numpy as np
    >>> nilpotency_by_pattern(np.eye(3, k=1)), nilpotency_by_pattern(np.eye(3))
    (3, None)
    """
    pattern = square_matrix(W) != 0
    remaining = np.ones(pattern.shape[0], dtype=bool)
    layers = 0
    while remaining.any():
        layers += 1
        sources = remaining & ~pattern[remaining].any(axis=0)
        if not sources.any():
            return None
        remaining &= ~sources
    return layers


def _running_powers(A: Array) -> Iterator[tuple[Array, int]]:
    """X and e with ‖Aᵏ‖₂ = 2ᵉ‖X‖₂, k = 0, 1, … without end, or until Aᵏ is exactly zero; X is (r, n)."""
    A, step = power_of_two_scale(A)
    n = A.shape[0]
    last = nilpotency_by_pattern(A)
    X = np.eye(n, dtype=A.dtype)
    exponent, k = 0, 0
    while X.any() and (last is None or k < last):
        yield X, exponent
        X, extra = power_of_two_scale(X @ A)
        exponent += step + extra
        k += 1
        if X.shape[0] > COMPRESS_FROM and k % 16 == 0:
            X = _compress(X)


def _norm(X: Array) -> float:
    """‖X‖₂; for large X from the smaller Gram matrix, whose top eigenvalue is as accurate as the singular value."""
    import scipy.linalg

    if min(X.shape) <= 48:
        return float(np.linalg.svd(X, compute_uv=False)[0])
    gram = X @ X.conj().T
    r = gram.shape[0]
    top = scipy.linalg.eigh(gram, eigvals_only=True, subset_by_index=[r - 1, r - 1], driver="evx", check_finite=False)
    return float(np.sqrt(top[0]))


def _compress(X: Array) -> Array:
    """ΣVᴴ of X without the singular values below n·eps·σ₁, where the products' own rounding is all there is."""
    _, sigma, Vh = np.linalg.svd(X, full_matrices=False)
    rank = int(np.sum(sigma > EPS * X.shape[1] * sigma[0]))
    return np.asarray(sigma[:rank, None] * Vh[:rank])


def _one_hump_peak(A: Array, scanned: int) -> tuple[int, float]:
    """The maximum of log10 ‖Aᵏ‖ over k > scanned if it has one hump: squaring until it falls, then golden section."""
    squares = [power_of_two_scale(A)]
    heights = [float(np.log10(_norm(squares[0][0]))) + squares[0][1] * LOG10_2]
    while len(squares) < 60 and (2 ** len(squares) <= 2 * scanned or heights[-1] >= heights[-2]):
        X, exponent = squares[-1]
        if not X.any():
            break
        Y, extra = power_of_two_scale(X @ X)
        squares.append((Y, 2 * exponent + extra))
        heights.append(float(np.log10(_norm(Y))) + (2 * exponent + extra) * LOG10_2 if Y.any() else -np.inf)

    def height(k: int) -> float:
        X, exponent = np.eye(A.shape[0], dtype=A.dtype), 0
        for bit, (square, e) in enumerate(squares):
            if k >> bit & 1:
                X, extra = power_of_two_scale(X @ square)
                exponent += e + extra
        return float(np.log10(_norm(X))) + exponent * LOG10_2 if X.any() else -np.inf

    low, high = scanned, 2 ** (len(squares)) - 1
    while high - low > 2:
        third = (high - low) // 3
        left, right = low + third, high - third
        if height(left) < height(right):
            low = left
        else:
            high = right
    k = max(range(low, high + 1), key=height)
    return k, height(k)
