"""An orthonormal frame carried along a tape: J_t Q_{t−1} = Q_t R_t, and the local gains ln (R_t)_jj."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.base import Array, StepJacobian
from gradscope.numerics.orthonormal import orthonormalise, roughly_orthonormalise, rounding_floor
from gradscope.numerics.tape import Tape

LN2 = float(np.log(2.0))
CHUNK = 64
# ln of the ratio of largest to smallest R_jj that a block of steps aims for, and at which it is redone shorter.
SPREAD_TARGET = 13.0
SPREAD_LIMIT = 16.5
LONGEST_INTERVAL = 32
# A block whose largest gain per step is below e^−25 may be rounding noise of an exact zero: looked at closely.
FAINT = -25.0
# Blocks outside are scaled between steps; within, products of steps and squares stay far from over- and underflow.
WINDOW = (2.0**-64, 2.0**64)


class LocalGains(NamedTuple):
    """Mean gain in nats per step over consecutive stretches: rates (m, *batch, k), their lengths in steps (m,)."""

    rates: Array
    steps: Array


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
        progress: Callable[[int, int], None] | None = None,
    ) -> LocalGains:
        """Carry the frame through steps first … last; gains summed up over at least (last − first + 1)/marks steps."""
        span = last - first + 1
        stride = -(-span // marks)
        # Statistics want some 48 stretches even of a short run.
        longest = max(1, min(LONGEST_INTERVAL, span // 48))
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
        while True:
            A, exponents = self.Q, np.zeros(alive.shape, dtype=np.int64)
            for i in range(offset, offset + m):
                A = chunk[i].push(A)
                A, exponents = _within_window(A, exponents, start + i)
            if m == 1 or self.fixed_interval:
                # Only here can columns differ by more than SPREAD_LIMIT, and rank be lost.
                A, exponents = _columns_to_unit_size(A, exponents)
            Q, R = roughly_orthonormalise(A)
            diagonal = np.diagonal(R, axis1=-2, axis2=-1)
            spread = _spread(diagonal, alive)
            weak = spread >= SPREAD_LIMIT or _faintest_block(diagonal, exponents, alive) < m * FAINT
            if m == 1 or not weak or self.fixed_interval:
                break
            m = max(1, m // 2)
        if np.isfinite(spread):
            self.spread_rate += 0.2 * (spread / m - self.spread_rate)
        annihilated = np.zeros_like(alive)
        if weak and m == 1:
            # Random signs undo the cancellations in J·Q, and so show the size of the terms it was summed from.
            terms = chunk[offset].push(self.Q * self.signs) * np.ldexp(1.0, -exponents)[..., None, :]
            annihilated = alive & (diagonal <= rounding_floor(A, terms))
        with np.errstate(divide="ignore"):
            logs = np.where(alive & ~annihilated, np.log(diagonal) + LN2 * exponents, -np.inf)
        gained = np.full(self.alive.shape, -np.inf)
        np.put_along_axis(gained, self.labels[..., : A.shape[-1]], logs, axis=-1)
        self.Q = Q
        if self.observer is not None:
            self.observer(R, exponents)
        if annihilated.any():
            self._drop(annihilated)
        return gained, m

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
        gained = np.zeros(self.alive.shape)
        np.put_along_axis(gained, self.labels[..., : Q.shape[-1]], np.log(diagonal), axis=-1)
        return gained

    def _drop(self, annihilated: Array) -> None:
        """Move annihilated directions behind the others, which they cannot touch there; cut what no entry needs."""
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


def _spread(diagonal: Array, alive: Array) -> float:
    """Largest ln(max R_jj / min R_jj) over the batch, among columns still alive."""
    if not alive.any():
        return 0.0
    largest = np.where(alive, diagonal, 0.0).max(axis=-1)
    smallest = np.where(alive, diagonal, np.inf).min(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.log(largest) - np.log(smallest)
    return float(np.max(np.where(alive.any(axis=-1), np.where(largest > 0.0, spread, np.inf), 0.0)))


def _faintest_block(diagonal: Array, exponents: Array, alive: Array) -> float:
    """Smallest over the batch of the largest ln R_jj."""
    with np.errstate(divide="ignore"):
        logs = np.where(alive, np.log(diagonal) + LN2 * exponents, -np.inf).max(axis=-1, initial=-np.inf)
    return float(np.min(np.where(alive.any(axis=-1), logs, 0.0), initial=0.0))


def _within_window(A: Array, exponents: Array, step: int) -> tuple[Array, Array]:
    """Scale columns back to unit size if the whole block has left 2^±64; refuse infinities."""
    size = max(float(A.max()), -float(A.min()))
    if not np.isfinite(size):
        raise UntrustedNumbersError(
            f"the Jacobian of step {step} holds an infinity or NaN, or overflows when applied to a unit vector; "
            "look at the weights (inspect) or lower the gain"
        )
    return (A, exponents) if WINDOW[0] < size < WINDOW[1] else _columns_to_unit_size(A, exponents)


def _columns_to_unit_size(A: Array, exponents: Array) -> tuple[Array, Array]:
    """Scale every column to a largest entry in [1/2, 1) by an exact power of two; zero columns stay."""
    shift = np.clip(np.frexp(np.abs(A).max(axis=-2))[1], -1000, 1000)
    return A * np.ldexp(1.0, -shift)[..., None, :], exponents + shift
