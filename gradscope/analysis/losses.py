"""The loss of a run: a seeded readout or the user's own, and its gradient with respect to states."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.readouts import choose_readout, output_width
from gradscope.analysis.request import GradientsRequest
from gradscope.errors import ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.loss_input_gradients import loss_input_gradients, sum_of_gradients
from gradscope.networks.padded import aligned_to_end, turned
from gradscope.networks.readout import LinearLoss, Loss, MeanSquaredError, SoftmaxCrossEntropy
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import DirectTerm
from gradscope.remarks import NO_LOSS
from gradscope.sources.given_arrays import GivenReadout
from gradscope.sources.inputs import array_of
from gradscope.sources.seeding import generator


@dataclass(frozen=True)
class LossSide:
    """Where a loss touches the states.

    Attributes
    ----------
    term : callable
        ∂L_t/∂s_t for every step that carries a loss, None elsewhere.
    description, readout : str
        What ``settings.loss`` and ``settings.readout`` say.
    weight : ndarray, shape (V, H), or None
        W_hy as this case's h meets it (of a bidirectional network its own half); None where there is no single y.
    output_gradient : ndarray, shape (*batch_shape, V), or None
        ∂L/∂y of the last step, y before the softmax; None where there is no single y.
    """

    term: DirectTerm
    description: str
    readout: str | None
    weight: Array | None = None
    output_gradient: Array | None = None


def loss_side(case: Case, request: GradientsRequest) -> LossSide | str | None:
    """The loss of this request; None for ``--loss none``; a sentence where a trained network has no readout.

    Raises
    ------
    UsageError
        A loss that seq2seq does not have: its loss is the sum of cross-entropies over decoder steps.
    """
    if request.loss == "none":
        return None
    if isinstance(case.tape, Seq2SeqTape):
        if request.loss != "cross-entropy" or request.readout is not None or request.loss_at != "last":
            raise UsageError(
                "seq2seq has its own loss, the sum of cross-entropies over decoder steps through its own head:\n"
                "drop --loss, --readout and --loss-at."
            )
        return LossSide(case.tape.direct_term, case.tape.loss_description, "its own head")
    if case.above and request.readout != "random" and request.loss != "linear" and case.source.spec.kind == "file":
        return _side_from_above(case, request)
    if request.loss == "linear":
        return _linear_side(case, request)
    together = case.beside is not None and request.readout != "random" and case.source.spec.kind == "file"
    width = output_width(case) + (case.beside.width if together and case.beside is not None else 0)
    readout = choose_readout(case, request, width=width)
    if isinstance(readout, str):
        return readout
    T, batch = case.tape.n_steps, case.tape.batch_shape[-1] if case.tape.batch_shape else 1
    _refuse_two_ends(case, request)
    targets = read_targets(request, readout.weight.shape[0], steps=T, batch=batch, starts=case.starts)
    kind = SoftmaxCrossEntropy if request.loss == "cross-entropy" else MeanSquaredError

    def at(t: int) -> Loss:
        target = targets.at(case.time_of(t))
        return kind(readout.weight, readout.bias, target)

    description = at(T).description + (f", read from {readout.reads}" if readout.reads else "")
    term = beside_terms(case, at, request.loss_at) if together else direct_terms(case, at, request.loss_at)
    own = output_width(case)
    weight = readout.weight
    if together and case.beside is not None:
        weight = weight[:, :own] if case.beside.own_first else weight[:, case.beside.width :]
    read = _read_beside(case, T, request.loss_at) if together else _read(case, T)
    return LossSide(term, description, readout.name, weight, at(T).output_gradient(read))


def _side_from_above(case: Case, request: GradientsRequest) -> LossSide | str | None:
    """A lower layer of a bidirectional network: it meets the loss through what both directions above read of it."""
    above = case.above[0]
    found = loss_side(above, request)
    if not isinstance(found, LossSide):
        return found
    rows, exponents = total_input_gradients(above, request, found)
    if above.time_of(1) != case.time_of(1):
        rows, exponents = _turned(rows, exponents, case)
    width = output_width(case)
    rows = rows[..., :width] if case.record["direction"] == "forward" else rows[..., -width:]
    components = output_components(case)

    def term(t: int) -> Array | None:
        if t == 0:
            return None
        gradient = np.zeros((*case.tape.batch_shape, case.tape.state_size))
        gradient[..., components] = np.ldexp(rows[t - 1], exponents[t - 1][..., None])
        return gradient

    return LossSide(term, f"{found.description}, through the layers above", found.readout)


def total_input_gradients(case: Case, request: GradientsRequest, side: LossSide) -> tuple[Array, Array]:
    """∂L/∂x_t in the case's own order, through both directions where the readout reads both."""
    trajectory = case.trajectory
    assert isinstance(trajectory, Trajectory)
    own = loss_input_gradients(trajectory, side.term)
    partner = case.other_direction()
    if partner is None or case.source.spec.kind == "cell" or request.readout == "random" or request.loss == "linear":
        return own
    other = loss_side(partner, request)
    assert isinstance(other, LossSide)
    assert isinstance(partner.trajectory, Trajectory)
    rows, exponents = loss_input_gradients(partner.trajectory, other.term)
    return sum_of_gradients(own, _turned(rows, exponents, case))


def _turned(rows: Array, exponents: Array, case: Case) -> tuple[Array, Array]:
    """Gradients by step in the other direction's order."""
    return turned(rows, case.starts), turned(exponents[..., None], case.starts)[..., 0]


def _refuse_two_ends(case: Case, request: GradientsRequest) -> None:
    """Losses at every step meet a backward direction in another order for every length: not measured."""
    backward = case.beside is not None or case.record.get("direction") == "backward"
    if case.starts is not None and backward and request.loss_at == "all":
        raise UsageError(
            "--lengths with --loss-at all is measured for forward networks; of a network that reads backward: "
            "--loss-at last, or --loss none."
        )


def _linear_side(case: Case, request: GradientsRequest) -> LossSide | str:
    """L = vᵀ h: the user's vector, or a seeded one for built networks."""
    if request.target is not None:
        raise UsageError("--target has no meaning for --loss linear: drop it.")
    H = output_width(case)
    if isinstance(request.readout, GivenReadout):
        raise UsageError(f"readout={request.readout.title}: for --loss linear wanted one vector ({H},).")
    if request.readout is not None and request.readout != "random":
        vector, title = array_of(request.readout, purpose="--readout")
        if vector.shape != (H,):
            raise ShapeError(f"--readout {title}: wanted a vector ({H},), got {vector.shape}.")
    elif case.source.spec.kind == "cell" or request.readout == "random":
        vector = generator(request.seed, "readout", "linear").standard_normal(H) / np.sqrt(H)
        title = "random" if request.readout else "seeded"
    else:
        return (
            f"{NO_LOSS}--loss linear of a trained network needs its vector: give --readout FILE.npy, "
            "or --readout random for a seeded one"
        )
    loss = LinearLoss(vector)
    term = direct_terms(case, lambda t: loss, request.loss_at)
    weight = np.asarray(vector, dtype=np.float64)[None, :]
    return LossSide(term, loss.description, title, weight, loss.output_gradient(_read(case, case.tape.n_steps)))


def output_components(case: Case) -> Array:
    """Indices of what the readout sees: the top layer's h, or the whole state of ready Jacobians."""
    if case.network is None:
        return np.arange(case.tape.state_size)
    return case.network.output_components


@dataclass(frozen=True)
class Targets:
    """What the loss compares with at each step: one for all, or one per step (time first)."""

    values: Array
    by_step: bool

    def at(self, t: int) -> Array:
        """The target of step t = 1 … T, shape (batch,) of class numbers or (batch, outputs)."""
        return np.asarray(self.values[max(t, 1) - 1] if self.by_step else self.values)


def read_targets(
    request: GradientsRequest, outputs: int, *, steps: int, batch: int, starts: Array | None = None
) -> Targets:
    """``--target``: class numbers (batch,) or with ``--loss-at all`` (T,) or (batch, T); values likewise for mse.

    With ``starts`` (sequences of different lengths) the targets of steps are padded like the inputs, and what stands
    in the padding is not read.

    Raises
    ------
    UsageError, InputError
    """
    text, mse = request.target, request.loss == "mse"
    if text is None:
        return Targets(np.zeros((batch, outputs)) if mse else np.zeros(batch, dtype=np.int64), by_step=False)
    if isinstance(text, str) and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text):
        values, name = np.array(float(text)), f"--target {text}"
        if not np.isfinite(values):
            raise UsageError(f"{name}: beyond what a number can be; wanted a {'value' if mse else 'class number'}.")
    else:
        if isinstance(text, str) and not Path(text).suffix and not Path(text).exists():
            raise UsageError(f"--target {text}: wanted {'a value' if mse else 'a class number'} or FILE.npy.")
        values, name = array_of(text, purpose="--target")
        name = f"--target {name}"
    tail = (outputs,) if mse else ()
    if starts is not None:
        values = _without_padding(values, starts, steps=steps)
    wanted = {(): False, tail: False, (batch, *tail): False}
    if request.loss_at == "all":
        wanted |= {(steps, *tail): True, (batch, steps, *tail): True}
        if batch == steps and values.shape == (batch, *tail) and batch > 1:
            raise ShapeError(
                f"{name}: shape {values.shape} could be (batch, …) or (T, …), both {batch}; "
                f"save it as (batch, T{', V' if mse else ''})."
            )
    if mse and outputs == 1 and values.ndim == len((batch, steps)) - (request.loss_at != "all"):
        values = values[..., None] if (*values.shape, 1) in wanted else values
    if values.shape not in wanted:
        shapes = " or ".join(str(shape) for shape in wanted)
        said = f"{name}: wanted shape {shapes} (batch before time), got {values.shape}."
        if values.shape in ((steps, *tail), (batch, steps, *tail)):
            said += "\nTargets for every step go with --loss-at all."
        raise ShapeError(said)
    by_step = wanted[values.shape]
    if not mse:
        if np.any(values != np.round(values)):
            raise ShapeError(f"{name}: wanted whole numbers, the classes; for values use --loss mse.")
        if values.min() < 0 or values.max() >= outputs:
            wrong = int(values.min()) if values.min() < 0 else int(values.max())
            raise UsageError(f"--target {wrong}: the readout has classes 0 … {outputs - 1}.")
        values = values.astype(np.int64)
    if not by_step:
        return Targets(np.broadcast_to(values, (batch, *tail)), by_step=False)
    # (batch, T, …) or (T, …) → (T, batch, …)
    in_time = values[:, None] if values.ndim == 1 + len(tail) else np.swapaxes(values, 0, 1)
    by_step_and_sample = np.broadcast_to(in_time, (steps, batch, *tail))
    return Targets(by_step_and_sample if starts is None else aligned_to_end(by_step_and_sample, starts), by_step=True)


def _without_padding(values: Array, starts: Array, *, steps: int) -> Array:
    """(batch, T, …) cut to the longest sequence, zeros where a sequence has ended (−100 and the like stand there)."""
    if values.ndim < 2 or len(values) != len(starts) or values.shape[1] < steps:
        return values
    values = np.array(values[:, :steps])
    for b, start in enumerate(starts):
        values[b, steps - start :] = 0
    return values


#: The loss that stands at step t.
LossAt = Callable[[int], Loss]


def _has_loss(t: int, T: int, loss_at: str) -> bool:
    return t == T or (loss_at == "all" and t > 0)


def _read(case: Case, t: int) -> Array:
    """The h that a readout sees at step t, shape (*batch_shape, H)."""
    return np.asarray(case.tape.state(t)[..., output_components(case)], dtype=np.float64)


def _read_beside(case: Case, t: int, loss_at: str) -> Array:
    """[h forward; h backward] as the head of a bidirectional network sees them where this direction is at step t."""
    beside, T = case.beside, case.tape.n_steps
    assert beside is not None
    own = _read(case, t)
    other = np.asarray(beside.output(T if loss_at == "last" else T + 1 - t), dtype=np.float64)
    return np.concatenate([own, other] if beside.own_first else [other, own], axis=-1)


def direct_terms(case: Case, at: LossAt, loss_at: str) -> DirectTerm:
    """∂L_t/∂s_t for every step that carries a loss: the last, or all from 1."""
    components, T = output_components(case), case.tape.n_steps

    def term(t: int) -> Array | None:
        if not _has_loss(t, T, loss_at):
            return None
        gradient = np.zeros(case.tape.state(t).shape)
        gradient[..., components] = at(t).gradient(_read(case, t))
        if case.starts is not None:
            gradient[..., t <= case.starts, :] = 0.0  # what has not begun has no loss
        return gradient

    return term


def beside_terms(case: Case, at: LossAt, loss_at: str) -> DirectTerm:
    """The same for one direction of a bidirectional network, whose head reads [h forward; h backward].

    The last output of each direction's own run stands in for ``--loss-at last``; with ``all``, step t of the
    sequence reads both directions at t.
    """
    beside, components, T = case.beside, output_components(case), case.tape.n_steps
    assert beside is not None

    def term(t: int) -> Array | None:
        if not _has_loss(t, T, loss_at):
            return None
        state, h = case.tape.state(t), _read_beside(case, t, loss_at)
        found = at(t).gradient(h)
        gradient = np.zeros(state.shape)
        own = len(components)
        gradient[..., components] = found[..., :own] if beside.own_first else found[..., -own:]
        return gradient

    return term
