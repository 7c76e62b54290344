"""How far h_t still hears each input: ∂h_t/∂x_j for every j, its share of all, and the control of theory.md C08."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array, shared_matmul
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.singular_values import finite_singular_values, rank_above_rounding
from gradscope.networks.network import Network
from gradscope.networks.tangents import input_weight
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.tape import StoredTape, Tape

#: U at step t, shape (G·H, I) or (..., 1, G·H, I); None at a step that reads no input.
InputWeight = Callable[[int], "Array | None"]


@dataclass(frozen=True)
class InputSensitivity:
    """∂h_t/∂x_j at one t, for j = 1 … t; arrays of shape (t, *batch_shape), entry j − 1.

    Attributes
    ----------
    step : int
        t.
    log10_norm, log10_norm_frobenius : ndarray
        log10 of the spectral and the Frobenius norm; NaN where ∂h_t/∂x_j is exactly zero.
    share : ndarray
        ‖∂h_t/∂x_j‖_F² / Σ_i ‖∂h_t/∂x_i‖_F²; NaN where nothing is heard at all.
    log10_total : ndarray, shape (*batch_shape,)
        log10 ‖∂h_t/∂(x_1, …, x_t)‖_F.
    rank : ndarray of int, shape (*batch_shape,)
        Singular values of ∂h_t/∂(x_1, …, x_t) above rounding: at most H (theory.md C21).
    effective_rank : ndarray, shape (*batch_shape,)
        exp of the entropy of the singular values' shares (Roy and Vetterli 2007, eq. 3); 0 where all are zero.
    """

    step: int
    log10_norm: Array
    log10_norm_frobenius: Array
    share: Array
    log10_total: Array
    rank: Array
    effective_rank: Array


class _Carrier:
    """[S_1 … S_t] up to a rotation of its columns, never wider than a few H, on one power of two per sample."""

    def __init__(self, batch: tuple[int, ...], height: int) -> None:
        self.columns = np.zeros((*batch, height, 0))
        self.exponent = np.zeros(batch, dtype=np.int64)

    def add(self, S: Array, exponent: Array) -> None:
        """Append S·2^exponent."""
        empty = ~np.any(self.columns, axis=(-2, -1))
        silent = ~np.any(S, axis=(-2, -1))
        common = np.where(empty, exponent, np.where(silent, self.exponent, np.maximum(self.exponent, exponent)))
        moved = []
        for block, scale in ((self.columns, self.exponent), (S, exponent)):
            # Below 2^−2000 of the largest nothing is left to count; the clip keeps ldexp in its range.
            moved.append(np.ldexp(block, np.clip(scale - common, -2000, 0).astype(np.int32)[..., None, None]))
        self.columns, self.exponent = np.concatenate(moved, axis=-1), common
        if self.columns.shape[-1] > 4 * self.columns.shape[-2]:
            self.compress()

    def compress(self) -> None:
        """Rotate the columns: U Σ instead of U Σ Vᵀ."""
        U, sigma, _ = np.linalg.svd(self.columns, full_matrices=False)
        self.columns, shift = normalise(U * sigma[..., None, :])
        self.exponent = self.exponent + shift


def measure_sensitivity(
    tape: Tape,
    output_components: Array,
    input_weight_at: InputWeight,
    *,
    step: int | None = None,
    readout: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> InputSensitivity:
    """Pull the rows of h_t back and let them out at every input: ∂h_t/∂x_j = E J_t ⋯ J_{j+1} B_j U.

    Parameters
    ----------
    tape : Tape
        With known drives (not ready Jacobians from a file).
    output_components : ndarray of int
        Where h stands in the state.
    input_weight_at : callable
        U at step j; None where the step reads no input (a decoder's): its row is zero (NaN).
    step : int, optional
        t; the last step by default.
    readout : ndarray, shape (V, H), optional
        W_hy: then everything is said of y_t = W_hy h_t + b, not of h_t.
    """
    t = tape.n_steps if step is None else step
    if not 0 <= t <= tape.n_steps:
        raise UsageError(f"step {t} is outside this run of {tape.n_steps} steps")
    batch, H = tape.batch_shape, len(output_components)
    spectral, frobenius = np.full((t, *batch), np.nan), np.full((t, *batch), np.nan)
    # Of a tall readout only its triangular factor counts: an orthogonal factor on the left changes no singular value.
    seen = np.eye(H) if readout is None else (np.linalg.qr(readout, mode="r") if len(readout) > H else readout)
    rows = np.zeros((len(seen), tape.state_size))
    rows[:, output_components] = seen
    H = len(seen)
    R, exponent = np.broadcast_to(rows, (*batch, H, tape.state_size)), np.zeros(batch, dtype=np.int64)
    carrier = _Carrier(batch, H)
    for j in range(t, 0, -1):
        jacobian, U = tape.jacobian(j), input_weight_at(j)
        if U is not None and U.shape[-1]:
            S, shift = normalise(shared_matmul(jacobian.pull_drive(R), U))
            sigma, _ = finite_singular_values(S)
            spectral[j - 1] = log10_scaled(sigma[..., 0], exponent + shift)
            frobenius[j - 1] = log10_scaled(np.sqrt(np.square(sigma).sum(axis=-1)), exponent + shift)
            carrier.add(S, exponent + shift)
        R, shift = normalise(jacobian.pull(R))
        exponent = exponent + shift
        if progress is not None:
            progress(t - j + 1, t)
    return _summary(t, spectral, frobenius, carrier, H)


def _summary(t: int, spectral: Array, frobenius: Array, carrier: _Carrier, H: int) -> InputSensitivity:
    """Shares and ranks of what was gathered."""
    batch = spectral.shape[1:]
    if carrier.columns.shape[-1] == 0:
        nothing = np.zeros(batch)
        return InputSensitivity(
            t, spectral, frobenius, np.full_like(spectral, np.nan), nothing * np.nan, nothing.astype(np.int64), nothing
        )
    sigma, _ = finite_singular_values(carrier.columns)
    total = log10_scaled(np.sqrt(np.square(sigma).sum(axis=-1)), carrier.exponent)
    share = np.where(np.isnan(frobenius), np.where(np.isnan(total), np.nan, 0.0), 10.0 ** (2 * (frobenius - total)))
    sums = sigma.sum(axis=-1, keepdims=True)
    p = np.divide(sigma, sums, out=np.zeros_like(sigma), where=sums > 0)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    effective = np.where(sums[..., 0] > 0, np.exp(entropy), 0.0)
    return InputSensitivity(t, spectral, frobenius, share, total, rank_above_rounding(sigma, H), effective)


def sensitivity_of(
    trajectory: Trajectory, *, step: int | None = None, progress: Callable[[int, int], None] | None = None
) -> InputSensitivity:
    """:func:`measure_sensitivity` of a network's own run, at the top layer's h."""
    network = trajectory.network
    return measure_sensitivity(
        trajectory,
        network.output_components,
        lambda j: input_weight(network, j, j),
        step=step,
        progress=progress,
    )


@dataclass(frozen=True)
class Influence:
    """log10 ‖∂h_t/∂x_j‖₂ and the same after only the steps between were changed; arrays of shape (*batch_shape,).

    In a linear network all three are equal, exactly: what comes between acts through the slopes alone (theory.md C08).
    """

    original: Array
    permuted: Array
    rescaled: Array


def measure_influence(
    network: Network,
    x: Array,
    initial_state: Array,
    *,
    rng: np.random.Generator,
    source: int = 1,
    step: int = 10,
    scale: float = 5.0,
) -> Influence:
    """The influence of x_1 on h_10, with x_2 … x_9 as they are, in another order, and ``scale`` times as large.

    Parameters
    ----------
    x : ndarray, shape (≥ step, ..., batch, I)
    source, step : int
        j and t, 1 ≤ j ≤ t.
    """
    if not 1 <= source <= step <= x.shape[0]:
        raise UsageError(f"x_{source} and h_{step} must be in order and within the {x.shape[0]} input steps")
    between = slice(source, step - 1)
    permuted, rescaled = x[:step].copy(), x[:step].copy()
    permuted[between] = rng.permutation(x[between], axis=0)
    rescaled[between] *= scale

    def norm(inputs: Array) -> Array:
        states = network.advance(initial_state, inputs)
        tape = StoredTape(states, network.linearise(states, inputs).jacobian)
        found = measure_sensitivity(tape, network.output_components, lambda j: input_weight(network, j, j))
        return np.asarray(found.log10_norm[source - 1])

    return Influence(norm(x[:step]), norm(permuted), norm(rescaled))
