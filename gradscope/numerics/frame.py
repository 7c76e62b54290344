"""An orthonormal frame carried along a tape: J_t Q_{t−1} = Q_t R_t, and the local gains ln (R_t)_jj."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.log_domain import LN2
from gradscope.numerics.orthonormal import orthonormalise, roughly_orthonormalise, rounding_floor, try_one_pass
from gradscope.numerics.tape import Tape

CHUNK = 64
# ln of the ratio of largest to smallest R_jj that a block of steps aims for, and at which it is redone shorter.
SPREAD_TARGET = 13.0
SPREAD_LIMIT = 16.5
LONGEST_INTERVAL = 32
# A block whose largest gain per step is below e^−25 may be rounding noise of an exact zero: looked at closely.
NOISE_LEVEL = -25.0
# Numbers in the products of the steps of one block that are made in one call.
TOGETHER = 2**20
# Blocks outside are scaled between steps; within, products of steps and squares stay far from over- and underflow.
WINDOW = (2.0**-64, 2.0**64)


class LocalGains(NamedTuple):
    """Mean gain in nats per step over consecutive stretches: rates (m, *batch, k), their lengths in steps (m,)."""

    rates: Array
    steps: Array


class _Factored(NamedTuple):
    """A·diag(2^exponents), a product of Jacobians and the frame, and A = Q·R.

    ``gains`` are the ln R_jj of the product, −inf in annihilated columns; ``spread`` is the largest over the batch of
    ln(max R_jj / min R_jj) among the columns of A still alive, inf if one of those is zero.
    """

    A: Array
    exponents: Array
    Q: Array
    R: Array
    gains: Array
    spread: float

    @classmethod
    def of(cls, A: Array, exponents: Array, Q: Array, R: Array, alive: Array) -> _Factored:
        """The same with gains and spread; at least one column is alive."""
        diagonal = np.diagonal(R, axis1=-2, axis2=-1)
        if alive.all() and diagonal.all():
            logs = np.log(diagonal)
            spread = logs.max(axis=-1) - logs.min(axis=-1)
            return cls(A, exponents, Q, R, logs + LN2 * exponents, float(spread.max()))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(diagonal)
            largest = np.where(alive, logs, -np.inf).max(axis=-1)
            smallest = np.where(alive, logs, np.inf).min(axis=-1)
            spread = np.where(np.isneginf(smallest), np.inf, largest - smallest)
        return cls(A, exponents, Q, R, np.where(alive, logs + LN2 * exponents, -np.inf), float(spread.max()))

    def is_weak(self, m: int) -> bool:
        """Whether m steps are too ill-conditioned for their smallest gain, or so small that they may be noise."""
        if self.spread >= SPREAD_LIMIT:
            return True
        strongest = self.gains.max(axis=-1)
        # Entries with no column left are past doubt.
        return bool((strongest < m * NOISE_LEVEL).any(where=~np.isneginf(strongest)))


# Steps multiplied up → block and exponents of its columns.
_Products: TypeAlias = dict[int, tuple[Array, Array]]


class Frame:
    """k orthonormal directions per batch entry, and which of them the Jacobians have not annihilated."""

    def __init__(self, tape: Tape, Q: Array, rng: np.random.Generator, *, qr_interval: int | None = None) -> None:
        self.tape = tape
        # Called with R (…, k, k) and the exponents e (…, k) of each block's triangular factor R·diag(2^e).
        self.observer: Callable[[Array, Array], None] | None = None
        self.signs = rng.choice([-1.0, 1.0], size=(tape.state_size, 1))
        self.Q = Q
        self.k = Q.shape[-1]
        self.fixed_interval = qr_interval
        self.spread_rate = SPREAD_TARGET  # nothing is known yet: every step, then longer
        # Which exponent each column of Q stands for: annihilated columns are moved to the end.
        self.labels = np.broadcast_to(np.arange(self.k), (*Q.shape[:-2], self.k)).copy()
        self.in_order = True
        self.alive = np.ones((*Q.shape[:-2], self.k), dtype=bool)

    @classmethod
    def random(cls, tape: Tape, k: int, rng: np.random.Generator, *, qr_interval: int | None = None) -> Frame:
        """A frame no direction of which is special; an exact one (the axes) may miss the growing direction."""
        shape = (*tape.batch_shape, tape.state_size, k)
        return cls(tape, orthonormalise(rng.standard_normal(shape))[0], rng, qr_interval=qr_interval)

    def advance(
        self,
        first: int,
        last: int,
        *,
        marks: int = 2048,
        longest: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> LocalGains:
        """Carry the frame through steps first … last; gains summed up over at least (last − first + 1)/marks steps.

        At most ``longest`` steps lie between orthonormalisations; by default so few that some 48 stretches come out.
        """
        span = last - first + 1
        stride = -(-span // marks)
        # Statistics want some 48 stretches even of a short run.
        longest = max(1, min(LONGEST_INTERVAL, span // 48)) if longest is None else longest
        rates: list[Array] = []
        steps: list[int] = []
        total, since = np.zeros(self.alive.shape), 0
        for start in range(first, last + 1, CHUNK):
            end = min(start + CHUNK - 1, last)
            chunk = self.tape.jacobians(start, end)
            done = 0
            while done < end - start + 1:
                wanted = self.fixed_interval or min(longest, max(1, round(SPREAD_TARGET / max(self.spread_rate, 0.1))))
                gained, taken = self._block(chunk, start, done, min(wanted, end - start + 1 - done))
                total = total + gained
                done, since = done + taken, since + taken
                if start + done > last:
                    total = total + self._settle()
                if since >= stride or start + done > last:
                    rates.append(total / since)
                    steps.append(since)
                    total, since = np.zeros(self.alive.shape), 0
            if progress is not None:
                progress(end - first + 1, span)
        return LocalGains(np.stack(rates), np.array(steps))

    def _block(self, chunk: StepJacobian, start: int, offset: int, m: int) -> tuple[Array, int]:
        """One orthonormalisation after at most m steps; returns Σ ln R_jj by label and how many steps it took."""
        alive = self.alive[..., : self.Q.shape[-1]]
        if not alive.any():
            return np.full(self.alive.shape, -np.inf), m
        m, factored = self._shortened_until_safe(chunk, start, offset, m)
        A, exponents, Q, R, gains, spread = factored
        if np.isfinite(spread):
            self.spread_rate += 0.2 * (spread / m - self.spread_rate)
        annihilated = np.zeros_like(alive)
        if m == 1 and factored.is_weak(1):
            # Random signs undo the cancellations in J·Q, and so show the size of the terms it was summed from.
            terms = chunk[offset].push(self.Q * self.signs) * np.ldexp(1.0, -exponents)[..., None, :]
            annihilated = alive & (np.diagonal(R, axis1=-2, axis2=-1) <= rounding_floor(A, terms))
            gains = np.where(annihilated, -np.inf, gains)
        gained = self._by_label(gains, -np.inf)
        self.Q = Q
        if self.observer is not None:
            self.observer(R, exponents)
        if annihilated.any():
            self._drop(annihilated)
        return gained, m

    def _shortened_until_safe(self, chunk: StepJacobian, start: int, offset: int, m: int) -> tuple[int, _Factored]:
        """Multiply up at most m steps and factor the product; fewer where that one is too ill-conditioned."""
        alive = self.alive[..., : self.Q.shape[-1]]
        products = {0: (self.Q, np.zeros(alive.shape, dtype=np.int64))}
        # An annihilated column that is kept for another entry's sake is no reason to shorten.
        attempt = try_one_pass if alive.all() else roughly_orthonormalise
        while m > 1 and not self.fixed_interval:
            A, exponents = _multiplied_up(chunk, start, offset, m, products)
            pair = attempt(A)
            if pair is not None:
                factored = _Factored.of(A, exponents, *pair, alive)
                if not factored.is_weak(m):
                    return m, factored
            m = _fewer(m)
        # Only here can columns differ by more than SPREAD_LIMIT, and rank be lost.
        A, exponents = _columns_to_unit_size(*_multiplied_up(chunk, start, offset, m, products))
        return m, _Factored.of(A, exponents, *roughly_orthonormalise(A), alive)

    def _settle(self) -> Array:
        """Make the frame orthonormal to rounding; what that adds to the gains (theirs were right to ε κ² only)."""
        if self.Q.size == 0:
            return np.zeros(self.alive.shape)
        Q, R = orthonormalise(self.Q)
        alive = self.alive[..., : Q.shape[-1]]
        diagonal = np.where(alive, np.diagonal(R, axis1=-2, axis2=-1), 1.0)
        if self.observer is not None:
            self.observer(R, np.zeros(alive.shape, dtype=np.int64))
        self.Q = Q
        return self._by_label(np.log(diagonal), 0.0)

    def _by_label(self, values: Array, missing: float) -> Array:
        """One value per column as one per exponent; those without a column get the one for missing."""
        if self.in_order:
            return values
        by_label = np.full(self.alive.shape, missing)
        np.put_along_axis(by_label, self.labels[..., : values.shape[-1]], values, axis=-1)
        return by_label

    def _drop(self, annihilated: Array) -> None:
        """Move annihilated directions behind the others, which they cannot touch there; cut what no entry needs."""
        self.in_order = False
        width = self.Q.shape[-1]
        alive = self.alive[..., :width] & ~annihilated
        order = np.argsort(~alive, axis=-1, kind="stable")
        alive = np.take_along_axis(alive, order, axis=-1)
        self.labels[..., :width] = np.take_along_axis(self.labels[..., :width], order, axis=-1)
        self.alive[..., :width] = alive
        Q = np.take_along_axis(self.Q, order[..., None, :], axis=-1)
        self.Q = np.ascontiguousarray(Q[..., : int(alive.sum(axis=-1).max())])


def mean_log_det(tape: Tape, first: int, last: int) -> Array:
    """Mean over steps of ln |det J_t|, from LU factorisations of the dense Jacobians; shape batch_shape.

    Rows are scaled by powers of two before the factorisation, so that saturated units keep their digits.
    """
    n = tape.state_size
    entries = n * n * int(np.prod(tape.batch_shape, dtype=np.int64))
    size = max(1, min(CHUNK, 2**21 // max(entries, 1)))
    total = np.zeros(tape.batch_shape)
    for start in range(first, last + 1, size):
        J = tape.jacobians(start, min(start + size - 1, last)).dense()
        exponents = np.frexp(np.abs(J).max(axis=-1))[1]
        logs = np.linalg.slogdet(np.ldexp(J, -exponents[..., None]))[1] + LN2 * exponents.sum(axis=-1)
        total = total + logs.sum(axis=0)
    return np.asarray(total / (last - first + 1))


def _fewer(m: int) -> int:
    """How many steps to try when m were too many."""
    return -(-m // 2)


def _multiplied_up(chunk: StepJacobian, start: int, offset: int, m: int, products: _Products) -> tuple[Array, Array]:
    """J ⋯ J·Q over m steps as A·diag(2^e), from the longest of the products kept; keeps the one to fall back on.

    Only that one: of all m, a batch of many networks would hold more than the tape itself.
    """
    done = max(steps for steps in products if steps <= m)
    A, exponents = products[done]
    half = _fewer(m)
    if 0 < (m - done) * A.size <= TOGETHER:
        # Infinities are looked at below, step by step.
        with np.errstate(over="ignore", invalid="ignore"):
            steps = chunk[offset + done : offset + m].push_through(A)
            inside = _is_within_window(steps)
        if inside:
            if half > done:
                products[half] = steps[half - done - 1], exponents
            return steps[-1], exponents
    for i in range(done, m):
        A = chunk[offset + i].push(A)
        A, exponents = _within_window(A, exponents, start + offset + i)
        if i + 1 == half:
            products[i + 1] = A, exponents
    return A, exponents


def _is_within_window(steps: Array) -> bool:
    """Whether no block of a series (m, ..., n, k) needs scaling; columns should be contiguous."""
    rows = np.swapaxes(steps, -1, -2).reshape(len(steps), 1, -1)
    squares = (rows @ np.swapaxes(rows, -1, -2)).ravel()
    return bool((squares > WINDOW[0] ** 2).all() and (squares < WINDOW[1] ** 2).all())


def _within_window(A: Array, exponents: Array, step: int) -> tuple[Array, Array]:
    """Scale columns back to unit size if the whole block has left 2^±64; refuse infinities."""
    square = float(np.vdot(A, A))
    if WINDOW[0] ** 2 < square < WINDOW[1] ** 2:
        return A, exponents
    if not np.isfinite(square) and not np.isfinite(A).all():
        raise UntrustedNumbersError(
            f"the Jacobian of step {step} holds an infinity or NaN, or overflows when applied to a unit vector; "
            "look at the weights (inspect) or lower the gain"
        )
    return _columns_to_unit_size(A, exponents)


def _columns_to_unit_size(A: Array, exponents: Array) -> tuple[Array, Array]:
    """Scale every column to a largest entry in [1/2, 1) by an exact power of two; zero columns stay."""
    shift = np.clip(np.frexp(np.abs(A).max(axis=-2))[1], -1000, 1000)
    return A * np.ldexp(1.0, -shift)[..., None, :], exponents + shift
