"""What reaches a recurrent ONNX node beside its weights: the state it starts from, and the lengths of its sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.onnx_constants import OPERATORS, ConstantFolder, NotConstantError
from gradscope.sources.onnx_graph import STANDARD, OnnxNode, Scope

_MAX_DEPTH = 32
#: Operators that make zeros of zeros, whatever the shape they are given.
_KEEPS_ZERO = ("Expand", "Tile", "Slice", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Cast", "Gather")
_REPEATS = ("Expand", "Tile")


@dataclass(frozen=True)
class Start:
    """What a node starts from.

    Attributes
    ----------
    states : tuple of ndarray or None
        One vector for each direction, [h] or [h; c]; None where it is zero.
    remarks : tuple of str
        What the file does not tell, or the run does not do.
    """

    states: tuple[Array | None, ...]
    remarks: tuple[str, ...] = ()


def start_of(one: OnnxNode, folder: ConstantFolder, n_directions: int, hidden: int, where: str) -> Start:
    """Read ``initial_h``, ``initial_c`` and ``sequence_lens`` of a node.

    Raises
    ------
    InputError
        If a constant state has another shape than the node's.
    """
    inputs = [*one.node.input, *[""] * 8]
    remarks: list[str] = []
    parts: list[Array | None] = []
    for index, role in ((5, "initial_h"), (6, "initial_c")) if one.kind == "LSTM" else ((5, "initial_h"),):
        part = None
        if inputs[index] and not _is_zero(one.scope, inputs[index], folder):
            try:
                value = _repeated(one.scope, inputs[index], folder)
            except NotConstantError as reason:
                remarks.append(
                    f"{one.module}: its {role} is no constant ({reason}); here it starts from zeros: --state FILE.npy "
                    "starts it elsewhere"
                )
            else:
                part = _rows(value, one, n_directions, hidden, role, where)
                if not _same_rows(part):
                    remarks.append(
                        f"{one.module}: its {role} differs from sequence to sequence of a batch; the first is used"
                    )
        parts.append(part)
    if inputs[4]:
        remarks.append(
            f"{one.module}: it takes sequence_lens, and the model stops at each sequence's own length; here every step "
            "is run: give the same lengths as --lengths"
        )
    states: list[Array | None] = []
    for d in range(n_directions):
        vectors = [np.zeros(hidden) if part is None else part[d, 0] for part in parts]
        state = np.concatenate(vectors).astype(np.float64)
        if not np.isfinite(state).all():
            raise InputError(f"{where}its start state holds NaN or infinite values; the file is damaged")
        states.append(state if state.any() else None)
    return Start(tuple(states), tuple(remarks))


def _rows(value: Array, one: OnnxNode, n_directions: int, hidden: int, role: str, where: str) -> Array:
    """A start state as (directions, batch, hidden)."""
    attributes = one.scope.attributes(one.node)
    if "layout" in attributes and attributes["layout"].i and value.ndim == 3:
        value = value.transpose(1, 0, 2)
    if value.ndim != 3 or value.shape[0] != n_directions or value.shape[2] != hidden or value.shape[1] < 1:
        raise InputError(
            f"{where}its {role} should have shape ({n_directions}, batch, {hidden}), but it has {value.shape}; damaged"
        )
    return value


def _same_rows(value: Array) -> bool:
    return bool((value == value[:, :1]).all())


def _is_zero(
    scope: Scope, name: str, folder: ConstantFolder, known: dict[tuple[int, str], bool] | None = None, depth: int = 0
) -> bool:
    """Whether a value is zero whatever the model is given: exporters write zeros of a shape that they compute."""
    known = {} if known is None else known
    scope, name = scope.resolve(name)
    key = (id(scope), name)
    if key not in known:
        known[key] = _zero(scope, name, folder, known, depth)
    return known[key]


def _zero(scope: Scope, name: str, folder: ConstantFolder, known: dict[tuple[int, str], bool], depth: int) -> bool:
    node = scope.producer(name)
    if node is None or depth > _MAX_DEPTH:
        return name in scope.initializers and not folder.value(name, scope).any()
    if node.domain in STANDARD and node.op_type == "ConstantOfShape":
        attributes = scope.attributes(node)
        return "value" not in attributes or not folder.tensor(attributes["value"].t).any()
    if node.domain in STANDARD and node.op_type in _KEEPS_ZERO and node.input:
        return _is_zero(scope, node.input[0], folder, known, depth + 1)
    if node.domain in STANDARD and node.op_type == "Concat" and len(node.input) <= _MAX_DEPTH:
        return all(_is_zero(scope, part, folder, known, depth + 1) for part in node.input)
    try:
        return not folder.value(name, scope).any()
    except NotConstantError:
        return False


def _repeated(scope: Scope, name: str, folder: ConstantFolder, depth: int = 0) -> Array:
    """A constant, or one that is only repeated along the batch (Expand, Tile), of which one copy is given.

    Raises
    ------
    NotConstantError
        If it depends on the model's input in any other way.
    """
    try:
        return folder.value(name, scope)
    except NotConstantError:
        scope, name = scope.resolve(name)
        node: Any = scope.producer(name)
        if node is None or depth > _MAX_DEPTH or node.domain not in STANDARD or not node.input:
            raise
        if node.op_type in _REPEATS:
            value = _repeated(scope, node.input[0], folder, depth + 1)
            if value.ndim != 3 or value.shape[1] != 1:
                raise
            return value
        if node.op_type not in ("Slice", "Identity", "Cast"):
            raise
        first = _repeated(scope, node.input[0], folder, depth + 1)
        others = [folder.value(part, scope) if part else None for part in node.input[1:]]
        return np.asarray(OPERATORS[node.op_type](folder, [first, *others], scope.attributes(node), node)[0])
