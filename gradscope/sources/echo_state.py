"""Echo state networks under the names their literature uses: ``W``, ``Win``, ``bias``, and a leak.

h_t = (1−a) h_{t−1} + a φ(Win x_t + W h_{t−1} + b) [1]_, which is the cell ``leaky``.

References
----------
.. [1] Lukoševičius and Jaeger, Reservoir computing approaches to recurrent neural network training, 2009, eq. 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gradscope.errors import InputError, UsageError
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.layer_weights import LayerWeights, RecurrentModules, module_title
from gradscope.sources.stored_tensor import StoredTensor, load_weights, shown

_NAME = re.compile(
    r"(?:(?P<module>.*)[./:])?(?:(?P<W>W|W_res)|(?P<Win>W_?in)|(?P<bias>bias|b)|"
    r"(?P<leak>leak|lr|leak_?rate|leaking_?rate|alpha)|(?P<feedback>W_?fb))\Z"
)


def echo_states(tensors: Mapping[str, StoredTensor], *, file: str, keys: FileKeys) -> RecurrentModules:
    """Read every reservoir: a square ``W`` with a ``Win`` of as many rows in the same scope."""
    groups: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.match(name)
        if match is not None and match.lastgroup is not None:
            groups.setdefault(match["module"] or "", {}).setdefault(_role(match), tensor)
    found = RecurrentModules([], {}, set())
    for module, parts in groups.items():
        if "W" not in parts or "Win" not in parts:
            continue
        found.used |= {tensor.name for tensor in parts.values()}
        try:
            found.layers.append(_reservoir(module, parts, file=file, keys=keys))
        except (InputError, UsageError) as question:
            found.questions[module] = question
    return found


def _role(match: re.Match[str]) -> str:
    return next(role for role in ("W", "Win", "bias", "leak", "feedback") if match[role])


def _reservoir(module: str, parts: dict[str, StoredTensor], *, file: str, keys: FileKeys) -> LayerWeights:
    where = f"{file}: module {module_title(module)}: "
    W, Win = parts["W"], parts["Win"]
    n = W.shape[0] if W.shape else 0
    if W.shape != (n, n) or n == 0 or len(Win.shape) != 2 or Win.shape[0] != n:
        raise InputError(
            f"{where}'{W.name}' should be square and '{Win.name}' have its rows (an echo state network), but their "
            f"shapes are {shown(W.shape)} and {shown(Win.shape)}"
        )
    if "feedback" in parts and not keys.ignores(parts["feedback"].name):
        name = parts["feedback"].name
        raise InputError(
            f"{where}'{name}' feeds the output back, which this cell does not have; go on without it with ignore={name}"
        )
    cell = keys.cell or "leaky"
    if cell not in ("leaky", "rnn"):
        raise InputError(f"{where}has one block and a leak (an echo state network): cell=leaky or cell=rnn, not {cell}")
    keys.check_applies(cell, where=where)
    bias = load_weights(parts["bias"], file=file).reshape(-1) if "bias" in parts else None
    if bias is not None and bias.size not in (1, n):
        raise InputError(f"{where}'{parts['bias'].name}' should have {n} values, but it has {bias.size}")
    leak = None
    if "leak" in parts and cell == "leaky":
        if parts["leak"].size != 1:
            raise InputError(f"{where}'{parts['leak'].name}' should be one number: a leak per unit is no cell here")
        leak = float(load_weights(parts["leak"], file=file).reshape(-1)[0])
        if not 0 <= leak <= 1:
            raise InputError(f"{where}'{parts['leak'].name}' should be a share from 0 to 1, but it is {leak}")
    said = [f"read as an echo state network: '{W.name}' recurrent, all {Win.shape[1]} columns of '{Win.name}' inputs"]
    if "feedback" in parts:
        said.append(f"'{parts['feedback'].name}' is left out, as ignore= says: the numbers are without feedback")
    if keys.activation is None:
        said.append("activation assumed to be tanh: activation=relu (or sigmoid, identity) says otherwise")
    facts = {"cell": "key" if keys.cell else "convention", "gates": "convention", "layout": "convention"}
    facts["activation"] = "key" if keys.activation else "convention"
    return LayerWeights(
        module=module,
        cell=cell,
        layer=0,
        direction="forward",
        weight_ih=load_weights(Win, file=file),
        weight_hh=load_weights(W, file=file),
        bias_ih=None if bias is None else bias if bias.size == n else bias.repeat(n),
        bias_hh=None,
        activation=keys.activation or "tanh",
        dtype=W.dtype,
        gates_in_file=("u",),
        parameters=(Win.name, W.name, *((parts["bias"].name,) if bias is not None else ())),
        facts_from=facts,
        assumptions=tuple(said),
        leak=leak,
    )
