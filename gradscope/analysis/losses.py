"""The loss of a run: a seeded readout or the user's own, and its gradient with respect to states."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.request import GradientsRequest
from gradscope.errors import InputError, ShapeError, UsageError
from gradscope.jacobians.base import Array
from gradscope.networks.readout import LinearLoss, Loss, SoftmaxCrossEntropy
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.numerics.backprop import DirectTerm
from gradscope.sources.inputs import load_numeric_array
from gradscope.sources.seeding import generator


def make_loss(case: Case, request: GradientsRequest) -> Loss | None:
    """The loss of this request, or None for ``--loss none``.

    The default readout is drawn from the seed, W_hy ~ N(0, 1/H), b_hy = 0; the linear loss's v ~ N(0, 1/H).
    """
    if request.loss == "none":
        return None
    H = len(output_components(case))
    if request.loss == "linear":
        if request.target is not None:
            raise UsageError("--target has no meaning for --loss linear: drop it.")
        if request.readout is None:
            return LinearLoss(generator(request.seed, "readout", "linear").standard_normal(H) / np.sqrt(H))
        vector = load_numeric_array(Path(request.readout), purpose="--readout")
        if vector.shape != (H,):
            raise ShapeError(f"--readout {Path(request.readout).name}: wanted a vector ({H},), got {vector.shape}.")
        return LinearLoss(vector)
    weight, bias = read_readout(request.readout, H) if request.readout else seeded_readout(case, request, H)
    batch = case.tape.batch_shape[-1] if case.tape.batch_shape else 1
    return SoftmaxCrossEntropy(weight, bias, read_target(request.target, weight.shape[0], batch))


def loss_side(case: Case, request: GradientsRequest) -> tuple[DirectTerm, str] | None:
    """Where the loss touches the states, and its description; None for ``--loss none``.

    Raises
    ------
    UsageError
        A loss that seq2seq does not have: its loss is the sum of cross-entropies over decoder steps.
    """
    if isinstance(case.tape, Seq2SeqTape):
        if request.loss == "none":
            return None
        if request.loss == "linear" or request.readout is not None or request.loss_at != "last":
            raise UsageError(
                "seq2seq has its own loss, the sum of cross-entropies over decoder steps through its own head:\n"
                "drop --loss linear, --readout and --loss-at."
            )
        return case.tape.direct_term, case.tape.loss_description
    loss = make_loss(case, request)
    return None if loss is None else (direct_terms(case, loss, request.loss_at), loss.description)


def output_components(case: Case) -> Array:
    """Indices of what the readout sees: the top layer's h, or the whole state of ready Jacobians."""
    if case.network is None:
        return np.arange(case.tape.state_size)
    return case.network.output_components


def seeded_readout(case: Case, request: GradientsRequest, H: int) -> tuple[Array, Array]:
    """W_hy ~ N(0, 1/H), b_hy = 0, the same from the same seed."""
    classes = case.source.classes
    weight = generator(request.seed, "readout").standard_normal((classes, H)) / np.sqrt(H)
    return weight, np.zeros(classes)


def read_readout(name: str, H: int) -> tuple[Array, Array]:
    """``weight`` (classes, H) and ``bias`` (classes,) from an .npz.

    Raises
    ------
    InputError, ShapeError
    """
    from gradscope.sources.named_arrays import read_arrays

    path = Path(name)
    if path.suffix.lower() != ".npz":
        raise InputError(f"--readout {path.name}: wanted an .npz with `weight` (classes, {H}) and `bias`.")
    arrays = read_arrays(path, purpose="--readout")
    if "weight" not in arrays:
        raise InputError(f"--readout {path.name}: no array named weight; found {', '.join(arrays) or 'nothing'}.")
    weight = np.asarray(arrays["weight"], dtype=np.float64)
    if weight.ndim != 2 or weight.shape[1] != H or weight.shape[0] < 1:
        raise ShapeError(f"--readout {path.name}: wanted weight (classes, {H}), got {weight.shape}.")
    bias = np.asarray(arrays.get("bias", np.zeros(weight.shape[0])), dtype=np.float64)
    if bias.shape != (weight.shape[0],):
        raise ShapeError(f"--readout {path.name}: wanted bias ({weight.shape[0]},), got {bias.shape}.")
    return weight, bias


def read_target(text: str | None, classes: int, batch: int) -> Array:
    """Class numbers, shape (batch,): one for all (default 0), or a file of them.

    Raises
    ------
    UsageError, InputError
    """
    if text is None:
        return np.zeros(batch, dtype=np.int64)
    if re.fullmatch(r"-?[0-9]+", text):
        target = np.full(batch, int(text))
    else:
        if not Path(text).suffix:
            raise UsageError(f"--target {text}: wanted a class number or FILE.npy.")
        values = load_numeric_array(Path(text), purpose="--target")
        if values.shape not in ((), (1,), (batch,)) or np.any(values != np.round(values)):
            raise ShapeError(f"--target {Path(text).name}: wanted {batch} whole numbers, got shape {values.shape}.")
        target = np.broadcast_to(values.astype(np.int64).reshape(-1), (batch,))
    if target.min() < 0 or target.max() >= classes:
        wrong = int(target.min()) if target.min() < 0 else int(target.max())
        raise UsageError(f"--target {wrong}: the readout has classes 0 … {classes - 1}.")
    return np.asarray(target, dtype=np.int64)


def direct_terms(case: Case, loss: Loss, loss_at: str) -> DirectTerm:
    """∂L_t/∂s_t for every step that carries a loss: the last, or all from 1."""
    components, T = output_components(case), case.tape.n_steps

    def term(t: int) -> Array | None:
        if t != T and (loss_at == "last" or t == 0):
            return None
        state = case.tape.state(t)
        gradient = np.zeros(state.shape)
        gradient[..., components] = loss.gradient(np.asarray(state[..., components], dtype=np.float64))
        return gradient

    return term
