"""All singular values of a long product of Jacobians, however many decades apart.

In an accumulated product everything below ε σ_1 is noise, and one QR pass gives Σ ln R_jj, which is not ln σ_j (theory
N04). Here QR passes alternate, forward with J_t and backward with J_tᵀ, until the frame is close to the singular
vectors; the triangular factors of the last pass are multiplied up as D·U, D diagonal and kept as logarithms, U unit
upper triangular and near the identity; one-sided Jacobi on D·U then gives every singular value to
relative accuracy ε κ(U), ties included.

References
----------
D. E. Stewart, ETNA 5 (1997) 29, and G. H. Golub, K. Sølna, P. Van Dooren, SIAM J. Matrix Anal. Appl. 22 (2000) 1, for
products; J. Demmel and K. Veselić, SIAM J. Matrix Anal. Appl. 13 (1992) 1204, for Jacobi's accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.log_domain import LN2, LN10
from gradscope.numerics.frame import Frame, mean_log_det
from gradscope.numerics.orthonormal import EPS
from gradscope.numerics.tape import Tape

JACOBI_SWEEPS = 30


@dataclass(frozen=True)
class FiniteLagSpectrum:
    """Singular values of J_last ⋯ J_first, one spectrum per batch entry.

    Attributes
    ----------
    log10_singular_values : ndarray, shape (*batch_shape, n)
        Descending; −inf for exact zeros (lost rank).
    sweep_residual : float
        Largest |Σ log10 R_jj − log10 σ_j|: how far the QR passes alone still were.
    jacobi_residual : float
        Largest cosine between rotated rows; n ε when converged.
    determinant_residual : float
        Largest |Σ log10 σ_j − Σ_t log10 |det J_t||, relative to 1 + the latter; NaN if rank was lost everywhere.
    """

    log10_singular_values: Array
    sweep_residual: float
    jacobi_residual: float
    determinant_residual: float
    converged: bool


def finite_lag_singular_values(
    tape: Tape, first: int, last: int, *, sweeps: int = 1, rng: np.random.Generator | None = None
) -> FiniteLagSpectrum:
    """Compute every singular value of J_last ⋯ J_first to high relative accuracy, as log10.

    Parameters
    ----------
    first, last : int
        Steps, both inclusive, 1 ≤ first ≤ last ≤ T.
    sweeps : int
        Passes forward and back before the one that is multiplied up. One is enough unless U stays ill-conditioned;
        each more makes U − I smaller by (σ_{j+1}/σ_j)².
    rng : numpy.random.Generator, optional
        Draws the first frame; ``default_rng(0)`` if not given.

    Examples
    --------
    >>> from gradscope.numerics.tape import tape_of_matrices
    >>> tape = tape_of_matrices(np.broadcast_to(np.diag([10.0, 1e-3]), (400, 2, 2)))
    >>> finite_lag_singular_values(tape, 1, 400).log10_singular_values.round(9).tolist()
    [[400.0, -1200.0]]
    """
    if not 1 <= first <= last <= tape.n_steps:
        raise UsageError(f"steps must satisfy 1 ≤ first ≤ last ≤ {tape.n_steps}; got first = {first}, last = {last}")
    rng = np.random.default_rng(0) if rng is None else rng
    frame = Frame.random(tape, tape.state_size, rng)
    # Back along the same steps, J_tᵀ in reverse order: step last of the tape comes first.
    mirrored = cast(Tape, _Mirrored(tape, first, last))
    for _ in range(sweeps):
        frame.advance(first, last)
        frame = _continued(frame, mirrored, rng)
        frame.advance(1, last - first + 1)
        frame = _continued(frame, tape, rng)
    product = _GradedProduct(frame.alive[..., : frame.Q.shape[-1]])
    frame.observer = product.multiply
    # Every step: a block of condition e^14 would cost six digits of its smallest factor, and here they do not average.
    frame.fixed_interval = 1
    frame.advance(first, last)
    logs = np.full((*tape.batch_shape, tape.state_size), -np.inf)
    sweep_residual, jacobi_residual = 0.0, 0.0
    for entry in np.ndindex(*tape.batch_shape):
        rank = int(frame.alive[entry].sum())
        diagonal = product.logs[entry][:rank]
        found, cosine = graded_singular_values(diagonal, product.U[entry][:rank, :rank])
        sweep_residual = max(sweep_residual, _largest(found + np.sort(-diagonal)))
        jacobi_residual = max(jacobi_residual, cosine)
        logs[entry][:rank] = found
    determinant = (last - first + 1) * mean_log_det(tape, first, last)
    known = np.isfinite(determinant) & np.isfinite(logs).all(axis=-1)
    defect = (logs.sum(axis=-1)[known] - determinant[known]) / (1.0 + np.abs(determinant[known]))
    return FiniteLagSpectrum(
        log10_singular_values=logs / LN10,
        sweep_residual=sweep_residual / LN10,
        jacobi_residual=jacobi_residual,
        determinant_residual=_largest(defect) if defect.size else float("nan"),
        converged=jacobi_residual <= 64.0 * tape.state_size * EPS,
    )


def graded_singular_values(logs: Array, U: Array) -> tuple[Array, float]:
    """ln of the singular values of diag(e^logs)·U by one-sided Jacobi on scaled rows, and the last largest cosine.

    A row is e^ℓ u with |u| = 1. For a pair with r = e^{ℓ_j − ℓ_i} ≤ 1 and c = u_i·u_j the rotation by tan θ = r τ,
    τ = −sgn(c)·2|c| / ((1 − r²) + √((1 − r²)² + 4 r² c²)), makes both orthogonal: u_i − r² τ u_j and u_j + τ u_i, each
    times cos θ. Nothing here over- or underflows however small r is; r = 0 is a Gram–Schmidt step.

    Parameters
    ----------
    logs : ndarray, shape (r,)
    U : ndarray, shape (r, r)
        Well-conditioned: the relative error is about ε κ(U).

    Returns
    -------
    ln σ : ndarray, shape (r,), descending
    cosine : float
    """
    size = len(logs)
    rows, lengths = _normalised(U)
    logs = logs + lengths
    cosine = 0.0
    rounds = _round_robin(size)
    for _ in range(JACOBI_SWEEPS if size > 1 else 0):
        cosine = 0.0
        for left, right in rounds:
            swap = logs[left] < logs[right]
            i, j = np.where(swap, right, left), np.where(swap, left, right)
            c = np.einsum("pk,pk->p", rows[i], rows[j])
            cosine = max(cosine, float(np.abs(c).max()))
            square = np.exp(2.0 * (logs[j] - logs[i]))
            gap = 1.0 - square
            root = gap + np.sqrt(gap**2 + 4.0 * square * c**2)
            tau = np.where(c == 0.0, 0.0, -2.0 * c / np.where(root == 0.0, 1.0, root))
            cos = 1.0 / np.sqrt(1.0 + square * tau**2)
            upper = cos[:, None] * (rows[i] - (square * tau)[:, None] * rows[j])
            lower = cos[:, None] * (rows[j] + tau[:, None] * rows[i])
            rows[i], grown = _normalised(upper)
            rows[j], shrunk = _normalised(lower)
            logs[i] += grown
            logs[j] += shrunk
        if cosine <= 8.0 * size * EPS:
            break
    return np.asarray(-np.sort(-logs)), cosine


class _GradedProduct:
    """D·U with D = diag(mantissa·2^exponent), multiplied from the left by triangular factors as they come.

    Sums of logarithms would lose ε·|sum| at every step, 1e-9 after 5000; mantissas lose ε.
    """

    def __init__(self, alive: Array) -> None:
        self.alive = alive
        self.mantissas = np.ones(alive.shape)
        self.exponents = np.zeros(alive.shape, dtype=np.int64)
        self.U = np.broadcast_to(np.eye(alive.shape[-1]), (*alive.shape, alive.shape[-1])).copy()

    @property
    def logs(self) -> Array:
        """ln D_jj."""
        return np.asarray(np.log(self.mantissas) + LN2 * self.exponents)

    def multiply(self, R: Array, exponents: Array) -> None:
        """D·U ← R·diag(2^e)·D·U: new D from the diagonal, new U = (D_new⁻¹ R 2^e D) U."""
        diagonal = np.where(self.alive, np.diagonal(R, axis1=-2, axis2=-1), 1.0)
        before, shifted = self.mantissas, self.exponents + exponents
        self.mantissas, carry = np.frexp(before * diagonal)
        self.exponents = shifted + carry
        # Column j of R in units of row i: falls off like σ_j/σ_i to the right of the diagonal, and is 0 to its left.
        ratio = before[..., None, :] / self.mantissas[..., :, None]
        powers = np.clip(shifted[..., None, :] - self.exponents[..., :, None], -1100, 900)
        self.U = (R * np.ldexp(ratio, powers)) @ self.U


@dataclass(frozen=True)
class _MirroredSteps:
    """J_Tᵀ, …, J_1ᵀ of steps J_1 … J_T, or J_tᵀ of one. Only what a frame asks for."""

    steps: StepJacobian

    def __getitem__(self, index: int | slice) -> _MirroredSteps:
        T = self.steps.shape[0]
        if isinstance(index, int):
            return _MirroredSteps(self.steps[T - 1 - index])
        first, last, _ = index.indices(T)
        return _MirroredSteps(self.steps[T - last : T - first])

    def push(self, Q: Array) -> Array:
        """J_tᵀ·Q."""
        return np.swapaxes(self.steps.pull(np.swapaxes(Q, -1, -2)), -1, -2)

    def push_through(self, Q: Array) -> Array:
        """J_Tᵀ·Q, J_{T−1}ᵀ·J_Tᵀ·Q, …, shape (T, ..., n, k)."""
        return np.swapaxes(self.steps.pull_through(np.swapaxes(Q, -1, -2)), -1, -2)


@dataclass(frozen=True)
class _Mirrored:
    """The tape read backward: its step s is J_{last+1−s}ᵀ. Only what a frame asks for."""

    tape: Tape
    first: int
    last: int

    @property
    def state_size(self) -> int:
        return self.tape.state_size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.tape.batch_shape

    def jacobians(self, first: int, last: int) -> _MirroredSteps:
        return _MirroredSteps(self.tape.jacobians(self.last + 1 - last, self.last + 1 - first))


def _continued(frame: Frame, tape: Tape, rng: np.random.Generator) -> Frame:
    """The same directions, from here on along another tape; lost ones stay lost."""
    width = frame.Q.shape[-1]
    following = Frame(tape, frame.Q, rng)
    following.alive = frame.alive[..., :width].copy()
    return following


def _normalised(rows: Array) -> tuple[Array, Array]:
    """Rows of length 1, and the logarithms of their lengths."""
    lengths = np.sqrt(np.einsum("pk,pk->p", rows, rows))
    return rows / lengths[:, None], np.log(lengths)


def _round_robin(size: int) -> list[tuple[Array, Array]]:
    """Disjoint pairs, round by round, every pair once (the circle method)."""
    players = size + size % 2
    circle = np.arange(players)
    rounds = []
    for _ in range(players - 1):
        left, right = circle[: players // 2], circle[players // 2 :][::-1]
        real = (left < size) & (right < size)
        rounds.append((left[real], right[real]))
        circle = np.concatenate([circle[:1], circle[-1:], circle[1:-1]])
    return rounds


def _largest(values: Array) -> float:
    return float(np.abs(values).max(initial=0.0))
