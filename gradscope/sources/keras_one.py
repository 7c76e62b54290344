"""Layers of Keras 1: one array for each gate (``lstm_1_W_i``, ``lstm_1_U_i``, ``lstm_1_b_i``), or three for all.

Put side by side in Keras 2's order (i, f, c, o; z, r, h) they are Keras 2's kernel, recurrent kernel and bias; gates
apply hard_sigmoid unless ``inner_activation`` says otherwise, and a gru resets before the product [1]_.

References
----------
.. [1] Keras 1.2.2, keras/layers/recurrent.py (SimpleRNN, GRU, LSTM: ``build``, ``step``)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.stored_tensor import StoredTensor

_NAMED = re.compile(r"(?P<stem>.+)_(?P<role>[WUb])(_(?P<gate>[ifcozrh]))?(:\d+)?\Z")
_ROLES = {"kernel": "W", "recurrent_kernel": "U", "bias": "b"}
#: Gates in Keras 2's order; "" is a layer that keeps one array for all of them.
_LAYOUTS = (("i", "f", "c", "o"), ("z", "r", "h"), ("",))


def keras1_cells(
    tensors: Mapping[str, StoredTensor],
) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, tuple[str, ...]]]:
    """Cells by their place, each as Keras 2's three arrays, and the names of the arrays those were made of."""
    groups: dict[str, dict[tuple[str, str], StoredTensor]] = {}
    for name, tensor in tensors.items():
        match = _NAMED.match(name)
        if match:
            groups.setdefault(match["stem"], {})[match["role"], match["gate"] or ""] = tensor
    cells: dict[str, dict[str, StoredTensor]] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for place, group in groups.items():
        gates = next((g for g in _LAYOUTS if {(r, k) for r in "WUb" for k in g} == set(group)), None)
        if gates is None or not _square(group["U", gates[0]]):
            continue
        made = {role: _side_by_side([group[letter, gate] for gate in gates]) for role, letter in _ROLES.items()}
        if None not in made.values():
            cells[place] = {role: tensor for role, tensor in made.items() if tensor is not None}
            parts[place] = tuple(group[letter, gate].name for letter in _ROLES.values() for gate in gates)
    return cells, parts


def _square(recurrent: StoredTensor) -> bool:
    """Whether it can be a recurrent kernel: (H, H), or (H, G·H) for all gates together."""
    return len(recurrent.shape) == 2 and recurrent.shape[0] > 0 and recurrent.shape[1] % recurrent.shape[0] == 0


def _side_by_side(arrays: list[StoredTensor]) -> StoredTensor | None:
    """Arrays of one shape and type, joined along their last axis when they are read; None if they differ."""
    first = arrays[0]
    if not first.shape or any((a.shape, a.dtype) != (first.shape, first.dtype) for a in arrays):
        return None

    def load() -> Array:
        return np.concatenate([array.load() for array in arrays], axis=-1)

    shape = (*first.shape[:-1], first.shape[-1] * len(arrays))
    return StoredTensor(first.name, shape, first.dtype, load)
