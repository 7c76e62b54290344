"""Lyapunov exponents of a tape: how fast small disturbances grow, per step, in nats.

    λ_i = lim_{T→∞} (1/T) ln σ_i(J_T ⋯ J_1)

measured with an orthonormal frame Q carried along: J_t Q_{t−1} = Q_t R_t, λ_i = mean of ln (R_t)_ii.

References
----------
G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Meccanica 15 (1980) 9 and 21; J.-P. Eckmann and D. Ruelle,
Rev. Mod. Phys. 57 (1985) 617, sec. V; J. L. Kaplan and J. A. Yorke (1979) for the dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.alignment import Alignment
from gradscope.numerics.alignment import align as align_frames
from gradscope.numerics.constant_jacobian import exponents_of_powers, is_constant
from gradscope.numerics.convergence import judge, unaligned, unresolved
from gradscope.numerics.diagonal_gains import diagonal_gains
from gradscope.numerics.frame import Frame, LocalGains, mean_log_det
from gradscope.numerics.statistics import bounded, mean_interval
from gradscope.numerics.tape import Tape

# Local gains kept per exponent: enough for 24 batches of a series of any length, 16 kB per exponent.
MARKS = 2048
WARM_UP = 100
# Leading directions on which two frames are compared: the verdict is about the first.
ALIGNED = 16
# Blocks of condition e^16.5 lose up to n ε e^16.5 of their smallest gain, some 1e-8; a millionth is a fault.
ADDS_UP = 1e-6


@dataclass(frozen=True)
class LyapunovSpectrum:
    """Exponents in nats per step, descending, one spectrum per entry of the batch axes.

    Attributes
    ----------
    exponents, low, high : ndarray, shape (*batch_shape, k)
        Time averages with 95 % intervals; −inf where the Jacobians are rank-deficient; the bounds are NaN for those,
        and when there are too few steps to tell.
    status : ndarray of str, shape (*batch_shape, k)
        ``ok`` or ``minus_infinity``.
    sum, mean_log_det : ndarray, shape batch_shape
        Σ λ_i, and the mean of ln |det J_t| over the same steps from LU factorisations; equal to rounding if k = n.
        ``mean_log_det`` is None if it was not asked for.
    kaplan_yorke_dimension, entropy_rate : ndarray, shape batch_shape
        NaN if k exponents are too few to know (the sum, or the last of them, is still positive).
    verdict : str
        Why, in a sentence; with the next step if not converged.
    steps : int
        Steps averaged over.
    method : str
        ``qr``; ``schur`` if every Jacobian is the same matrix, whose eigenvalues give the limit itself.
    gains : ndarray, shape (m, *batch_shape, k)
        Mean local gain (nats per step) in each of m consecutive stretches of ``gain_steps`` steps.
    gain_steps : ndarray, shape (m,)
    complete : bool
        Whether these are all n exponents.
    alignment : Alignment or None
        Where two frames from different starts agree; None where nothing had to be aligned.
    """

    exponents: Array
    low: Array
    high: Array
    status: Array
    sum: Array
    mean_log_det: Array | None
    kaplan_yorke_dimension: Array
    entropy_rate: Array
    converged: bool
    verdict: str
    steps: int
    method: str
    gains: Array
    gain_steps: Array
    complete: bool
    alignment: Alignment | None = None

    @property
    def max(self) -> Array:
        """λ_1, shape batch_shape."""
        return np.asarray(self.exponents[..., 0])

    def pooled(self) -> LyapunovSpectrum:
        """One spectrum for all batch entries: runs of the same network, averaged, with the interval of the average."""
        k = self.exponents.shape[-1]
        if self.exponents.size == k:
            batch = self
        else:
            gains = self.gains.reshape(len(self.gain_steps), -1, k).mean(axis=1)
            batch = _spectrum(LocalGains(gains, self.gain_steps), complete=self.complete)
            if self.alignment is not None and batch.converged:
                batch = _with_alignment(batch, self.alignment)
        pooled = replace(
            batch,
            **{name: getattr(batch, name).reshape(k) for name in ("exponents", "low", "high", "status")},
            **{name: getattr(batch, name).reshape(()) for name in ("sum", "kaplan_yorke_dimension", "entropy_rate")},
            gains=batch.gains.reshape(-1, k),
            mean_log_det=None if self.mean_log_det is None else np.asarray(self.mean_log_det.mean()),
        )
        return pooled if self.converged else replace(pooled, converged=False, verdict=self.verdict)


def measure_lyapunov(
    tape: Tape,
    *,
    k: int | None = None,
    align: int | None = None,
    qr_interval: int | None = None,
    log_det: bool = True,
    rng: np.random.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LyapunovSpectrum:
    """Measure the k leading Lyapunov exponents of a tape, with intervals and a verdict on convergence.

    The frame is orthonormalised every m steps, m·(λ_1 − λ_k) ≈ 13 and never beyond 16.5 within a block, so that a
    block's condition number stays near 1e6 and the smallest exponent, an average over blocks, is right to 1e-10
    (theory.md N02). Pairs of exponents whose difference only oscillates (complex eigenvalues) share their mean: the QR
    gains of a rotating pair are right only together.

    Parameters
    ----------
    tape : Tape
        At least one step; batch axes are measured side by side.
    k : int, optional
        How many exponents; all by default.
    align : int, optional
        First steps that only turn the frame towards the growing directions and are left out of the averages.
        By default nothing is left out: the frame is turned by a first pass over the first 100 steps, which are
        then measured like the rest; the average is over exactly the tape's steps. Whether that was enough, two frames
        from different starts tell (`gradscope.numerics.alignment`). 0 starts from a random frame, and nothing is known
        then of alignment.
    qr_interval : int, optional
        A fixed m instead of the adapted one.
    log_det : bool
        Also compute mean ln |det J_t| independently (an LU factorisation per step).
    rng : numpy.random.Generator, optional
        Draws the first frame; ``default_rng(0)`` if not given.
    progress : callable, optional
        Called with (steps done, steps in all).

    Raises
    ------
    UsageError
        k outside 1 … n, no steps, or ``align`` leaving none.
    UntrustedNumbersError
        A Jacobian holds an infinity or NaN.

    Examples
    --------
    >>> from gradscope.numerics.tape import tape_of_matrices
    >>> spectrum = measure_lyapunov(tape_of_matrices(np.broadcast_to(np.diag([2.0, 0.5]), (50, 2, 2))))
    >>> np.round(spectrum.exponents[0], 6).tolist()
    [0.693147, -0.693147]
    """
    n, n_steps = tape.state_size, tape.n_steps
    k = n if k is None else k
    skipped = align or 0
    if not 1 <= k <= n:
        raise UsageError(f"the number of exponents must be 1 … {n} (the state size); got {k}")
    if n_steps - skipped < 1:
        raise UsageError(
            f"Lyapunov exponents need steps: {n_steps} given, {skipped} of them for alignment; raise --steps"
        )
    rng = np.random.default_rng(0) if rng is None else rng
    apart = diagonal_gains(tape, skipped + 1, n_steps, k, marks=MARKS) if qr_interval is None else None
    if apart is not None:
        # Every channel is a direction of its own: nothing has to be aligned, and nothing is rounded but sums.
        spectrum = _spectrum(apart, complete=k == n)
    else:
        frame = Frame.random(tape, k, rng, qr_interval=qr_interval)
        if align is None:
            frame.advance(1, min(WARM_UP, n_steps))
        elif align > 0:
            frame.advance(1, align)
        gains = frame.advance(skipped + 1, n_steps, marks=MARKS, progress=progress)
        spectrum = _spectrum(_tied_pairs_averaged(gains), complete=k == n)
    if is_constant(tape, skipped + 1, n_steps, rng):
        spectrum = _limit_of_powers(spectrum, tape, skipped + 1, k, rng)
    if apart is None and align is None and spectrum.converged and spectrum.method == "qr":
        spectrum = _with_alignment(spectrum, align_frames(tape, min(k, ALIGNED), rng))
    if not log_det:
        return spectrum
    return _checked_against(spectrum, mean_log_det(tape, skipped + 1, n_steps))


def kaplan_yorke_dimension(exponents: Array, *, complete: bool = True) -> Array:
    """D = j + Σ_{i≤j} λ_i / |λ_{j+1}|, j the last index with a nonnegative partial sum.

    Parameters
    ----------
    exponents : ndarray, shape (..., k)
        Descending; may end in −inf.
    complete : bool
        Whether these are all of them; if not and their sum is still nonnegative, the answer is NaN, else k.

    Examples
    --------
    >>> float(kaplan_yorke_dimension(np.array([0.9, 0.0, -14.5])))  # Lorenz 1963
    2.0620689655172413
    """
    k = exponents.shape[-1]
    partial = np.cumsum(exponents, axis=-1)
    j = (partial >= 0.0).sum(axis=-1)
    last = np.clip(j - 1, 0, k - 1)[..., None]
    following = np.clip(j, 0, k - 1)[..., None]
    kept = np.take_along_axis(partial, last, axis=-1)[..., 0]
    contracting = np.take_along_axis(exponents, following, axis=-1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        dimension = j + kept / np.abs(contracting)
    dimension = np.where(j == 0, 0.0, dimension)
    return np.asarray(np.where(j == k, float(k) if complete else np.nan, dimension))


def entropy_rate(exponents: Array, *, complete: bool = True) -> Array:
    """Sum of the positive exponents (Pesin), nats per step; NaN if the last known one is still positive."""
    total = np.where(exponents > 0.0, exponents, 0.0).sum(axis=-1)
    return np.asarray(np.where(exponents[..., -1] > 0.0, total if complete else np.nan, total))


def _checked_against(spectrum: LyapunovSpectrum, log_det: Array) -> LyapunovSpectrum:
    """Attach mean ln |det J_t|; exponents of a full spectrum that do not add up to it are not called converged."""
    spectrum = replace(spectrum, mean_log_det=log_det)
    known = np.isfinite(log_det) & np.isfinite(spectrum.sum)
    found, expected = np.where(known, spectrum.sum, 0.0), np.where(known, log_det, 0.0)
    off = np.abs(found - expected) / (1.0 + np.abs(expected))
    if spectrum.complete and float(off.max(initial=0.0)) > ADDS_UP:
        return replace(
            spectrum,
            converged=False,
            verdict=f"not to be trusted: Σλ and mean ln|det J| differ by {float(off.max()):.1e}: more than rounding",
        )
    return spectrum


def _spectrum(gains: LocalGains, *, complete: bool) -> LyapunovSpectrum:
    """Averages, intervals and verdict from the local gains."""
    steps = int(gains.steps.sum())
    mean, low, high = mean_interval(gains.rates, lengths=gains.steps)
    order = np.argsort(-mean, axis=-1, kind="stable")
    mean, low, high = (np.take_along_axis(a, order, axis=-1) for a in (mean, low, high))
    rates = np.take_along_axis(gains.rates, order[None], axis=-1)
    converged, verdict = judge(mean, high - mean, rates, gains.steps)
    return LyapunovSpectrum(
        exponents=mean,
        low=low,
        high=high,
        status=np.where(np.isneginf(mean), "minus_infinity", "ok"),
        sum=mean.sum(axis=-1),
        mean_log_det=None,
        kaplan_yorke_dimension=kaplan_yorke_dimension(mean, complete=complete),
        entropy_rate=entropy_rate(mean, complete=complete),
        converged=converged,
        verdict=verdict,
        steps=steps,
        method="qr",
        gains=rates,
        gain_steps=gains.steps,
        complete=complete,
    )


def _with_alignment(spectrum: LyapunovSpectrum, alignment: Alignment) -> LyapunovSpectrum:
    """The same with what two frames say: not converged where they disagree on the largest exponent."""
    why = unaligned(
        spectrum.exponents, spectrum.high - spectrum.exponents, spectrum.gains, spectrum.gain_steps, alignment
    )
    verdict = why or spectrum.verdict + unresolved(spectrum.exponents, alignment)
    return replace(spectrum, alignment=alignment, converged=why is None, verdict=verdict)


def _tied_pairs_averaged(gains: LocalGains) -> LocalGains:
    """Give neighbours whose cumulated difference is bounded and goes nowhere (a rotating pair) their common mean.

    The QR gains of a complex pair oscillate with the pair's rotation while their sum is exact at every step
    (theory.md N11), so the shared mean is right to rounding where each alone is off by O(1/T). A random
    difference is a random walk, not bounded, and left alone.
    """
    rates, steps = gains.rates, gains.steps
    k = rates.shape[-1]
    if k < 2 or len(steps) < 32:
        return gains
    with np.errstate(invalid="ignore"):
        difference = np.cumsum(
            (rates[..., :-1] - rates[..., 1:]) * steps.reshape(-1, *([1] * (rates.ndim - 1))), axis=0
        )
        time = np.cumsum(steps) - steps.sum() / 2.0
        centred = (time - time.mean()).reshape(-1, *([1] * (rates.ndim - 1)))
        level = difference - difference.mean(axis=0)
        slope = (centred * level).sum(axis=0) / (centred**2).sum()
        residuals = level - slope * centred
        swing = residuals.max(axis=0) - residuals.min(axis=0)
        tied = bounded(residuals) & (np.abs(slope) * steps.sum() < swing) & np.isfinite(swing)
    if not tied.any():
        return gains
    averaged = rates.copy()
    for where in np.argwhere(tied.any(axis=-1)):
        entry = tuple(where)
        starts = np.flatnonzero(np.append(True, ~tied[entry]))
        for first, after in zip(starts, np.append(starts[1:], k), strict=True):
            columns = (slice(None), *entry, slice(first, after))
            averaged[columns] = averaged[columns].mean(axis=-1, keepdims=True)
    return LocalGains(averaged, steps)


def _limit_of_powers(
    spectrum: LyapunovSpectrum, tape: Tape, step: int, k: int, rng: np.random.Generator
) -> LyapunovSpectrum:
    """Replace time averages by ln |eigenvalues| where every Jacobian is the same matrix and those are trustworthy.

    QR along powers of one matrix is the unshifted QR algorithm; its limit is the real Schur form, which
    LAPACK reaches with shifts instead of after 1/(λ_i − λ_{i+1}) steps.
    """
    matrices = tape.dense(step).reshape(-1, tape.state_size, tape.state_size)
    limits = [exponents_of_powers(matrix, rng) for matrix in matrices]
    if any(limit is None for limit in limits):
        return spectrum
    shape = (*tape.batch_shape, k)
    values = np.stack([limit.exponents[:k] for limit in limits if limit is not None]).reshape(shape)
    errors = np.stack([limit.errors[:k] for limit in limits if limit is not None]).reshape(shape)
    complete = k == tape.state_size
    dead = np.isneginf(values)
    return replace(
        spectrum,
        exponents=values,
        low=np.where(dead, np.nan, values - np.where(dead, 0.0, errors)),
        high=np.where(dead, np.nan, values + np.where(dead, 0.0, errors)),
        status=np.where(dead, "minus_infinity", "ok"),
        sum=values.sum(axis=-1),
        kaplan_yorke_dimension=kaplan_yorke_dimension(values, complete=complete),
        entropy_rate=entropy_rate(values, complete=complete),
        converged=True,
        verdict="converged: every step has the same Jacobian, so the exponents are ln |eigenvalues|, the limit itself",
        method="schur",
    )
