"""The gradient of every parameter of the recurrent module, sample by sample: what a framework's clipping compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradscope.cells.lstm_projected import LstmProjected
from gradscope.jacobians.step_jacobian import Array, StepJacobian, WeightCotangent
from gradscope.log_domain import LOG10_2
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import DirectTerm, state_gradients

#: Steps taken together.
STEPS_AT_ONCE = 128


@dataclass(frozen=True)
class ParameterGradients:
    """∂L/∂θ of each sample's own loss, θ the recurrent module's W_ih, W_hh, W_hr and biases, layer by layer.

    Attributes
    ----------
    names : tuple of str
        PyTorch's: ``weight_ih_l0``, ``weight_hh_l0``, ``weight_hr_l0`` (of a projection), ``bias_ih_l0``, …
    values : tuple of ndarray, each (batch, rows, columns)
        In units of 2^exponent of the sample; a bias has one column.
    exponent : ndarray of int, shape (batch,)
    """

    names: tuple[str, ...]
    values: tuple[Array, ...]
    exponent: Array

    def log10_norms(self) -> Array:
        """log10 of the norm over all parameters, shape (batch,): what ``clip_grad_norm_`` compares; −inf for zero."""
        squares = sum(np.square(value).sum(axis=(1, 2)) for value in self.values)
        with np.errstate(divide="ignore"):
            return np.asarray(0.5 * np.log10(squares) + self.exponent * LOG10_2)

    def gram(self) -> tuple[Array, int]:
        """⟨∂L_a/∂θ, ∂L_b/∂θ⟩ over all parameters in units of 4^exponent, and that exponent: any mean's norm from it."""
        top = int(self.exponent.max())
        shift = np.clip(self.exponent - top, -2000, 0).astype(np.int32)[:, None]
        total = np.zeros((len(self.exponent), len(self.exponent)))
        for value in self.values:
            flat = np.ldexp(value.reshape(len(value), -1), shift)
            total += flat @ flat.T
        return total, top


def measure_parameter_gradients(
    run: Trajectory | Seq2SeqTape, direct_term: DirectTerm, *, biases: int = 2
) -> ParameterGradients:
    """Sum ∂L/∂θ over the steps of a run, for every sample.

    Parameters
    ----------
    run : Trajectory or Seq2SeqTape
        One network, ``batch_shape`` (batch,); of an encoder–decoder both, as ``encoder.weight_ih_l0``, ….
    direct_term : callable
        The loss's own gradient at each step.
    biases : {0, 1, 2}
        How many the module has: two in PyTorch (with equal gradients but for a gru's b_hn), one in Keras.
    """
    gradients = state_gradients(run, direct_term)
    if isinstance(run, Trajectory):
        return _summed(run, gradients, biases)
    # From the end: the decoder's steps come first, and the encoder goes on where they began.
    decoder = _summed(run.decoder, gradients, biases)
    encoder = _summed(run.encoder, gradients, biases)
    # A part that is exactly zero has no scale; it must not push the other below what float64 holds.
    top = np.where(
        ~_any(encoder),
        decoder.exponent,
        np.where(~_any(decoder), encoder.exponent, np.maximum(encoder.exponent, decoder.exponent)),
    )
    names, values = list[str](), list[Array]()
    for part, found in (("encoder", encoder), ("decoder", decoder)):
        names += [f"{part}.{name}" for name in found.names]
        down = _powers(found.exponent - top)
        values += [np.ldexp(value, down[:, None, None]) for value in found.values]
    return ParameterGradients(tuple(names), tuple(values), top)


def _any(found: ParameterGradients) -> Array:
    """Which samples have a gradient at all, shape (batch,)."""
    return np.asarray(np.any([np.any(value, axis=(1, 2)) for value in found.values], axis=0))


def _summed(trajectory: Trajectory, gradients: Iterator[tuple[int, Array, Array]], biases: int) -> ParameterGradients:
    """One network's sums; ``gradients`` gives ∂L/∂s_t and its exponent, from the trajectory's last step down."""
    (batch,) = trajectory.batch_shape
    totals: list[Array] = []
    exponent = np.full(batch, np.iinfo(np.int32).min, dtype=np.int64)
    for segment in trajectory.segments("end"):
        inputs = trajectory.layer_inputs(segment)
        for last in range(segment.last, segment.first - 1, -STEPS_AT_ONCE):
            first = max(segment.first, last - STEPS_AT_ONCE + 1)
            steps = [next(gradients) for _ in range(first, last + 1)][::-1]
            vectors = np.stack([step[1] for step in steps])
            own = np.stack([step[2] for step in steps])
            top = np.maximum(exponent, own.max(axis=0))
            part = slice(first - segment.first, last - segment.first + 1)
            g = np.ldexp(vectors, _powers(own - top)[..., None])
            found = _stretch(segment.linearised.jacobian[part], g, [x[part] for x in inputs], biases)
            if not totals:
                totals = [np.zeros_like(value) for value in found]
            down = _powers(exponent - top)
            totals = [np.ldexp(total, down[:, None, None]) + value for total, value in zip(totals, found, strict=True)]
            exponent = top
    names: list[str] = []
    for layer, cell in enumerate(trajectory.network.layers):
        projected = ("weight_hr",) if isinstance(cell, LstmProjected) else ()
        kinds = ("weight_ih", "weight_hh", *projected, *("bias_ih", "bias_hh")[:biases])
        names += [f"{kind}_l{layer}" for kind in kinds]
    return ParameterGradients(tuple(names), tuple(totals), np.where(exponent < -(2**30), 0, exponent))


def _powers(exponent: Array) -> Array:
    """Exponents for ldexp: below 2^−2000 of the larger scale nothing is left to add."""
    return np.clip(exponent, -2000, 0).astype(np.int32)


def _stretch(jacobians: StepJacobian, g: Array, inputs: list[Array], biases: int) -> list[Array]:
    """Σ over a stretch of each parameter's gradient, given g = ∂L/∂s_t of shape (steps, batch, n)."""
    out: list[Array] = []
    projections = jacobians.projection_cotangents(g) or (None,) * len(inputs)
    layers = zip(jacobians.drive_cotangents(g), jacobians.weight_cotangents(g), projections, inputs, strict=True)
    for drive, blocks, projection, x in layers:
        out.append(np.einsum("tbi,tbj->bij", drive, np.asarray(x, dtype=np.float64), optimize=True))
        out.append(_recurrent(blocks) if blocks else np.zeros((drive.shape[1], 0, 1)))
        if projection is not None:
            out.append(_recurrent((projection,)))
        if biases:
            out.append(drive.sum(axis=0)[..., None])
        if biases > 1:
            rows = np.concatenate([block.rows for block in blocks], axis=-1)
            out.append(rows.sum(axis=0)[..., None])
    return out


def _recurrent(blocks: tuple[WeightCotangent, ...]) -> Array:
    """∂L/∂W_hh, rows in the cell's gate order."""
    return np.concatenate(
        [
            np.einsum("tbi,tbj->bij", rows, np.broadcast_to(columns, (*rows.shape[:-1], columns.shape[-1])))
            for rows, columns in blocks
        ],
        axis=1,
    )
