"""What feeds what in one Keras model: who a layer reads, and which mask reaches it.

A functional model writes its edges as ``inbound_nodes``: Keras 2 as ``[name, call, tensor, kwargs]`` lists, Keras 3
as serialised tensors whose ``keras_history`` names the layer. A sequential model's edges are its order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Layers that pass sequences on unchanged at inference: what may stand between two layers of one stack.
PASS_THROUGH = {
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
}
#: Layers that hand a mask on to whoever reads them (``supports_masking``); others lose it or refuse it.
_KEEPS_MASK = PASS_THROUGH | {
    "Masking",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "Softmax",
    "Dense",
    "TimeDistributed",
    "BatchNormalization",
    "LayerNormalization",
    "UnitNormalization",
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Concatenate",
}
_MAX_DEPTH = 8


@dataclass(frozen=True)
class LayerCall:
    """What one layer of a model is called with.

    Attributes
    ----------
    reads : tuple of str
        Layers whose outputs it takes, without those that only give a start state.
    starts_from : tuple of str
        Layers that give its start state.
    mask_from : str or None
        A layer whose output is passed as its mask by name.
    n_calls : int
        How often it is used; a layer used twice has no single place in the graph.
    """

    reads: tuple[str, ...] = ()
    starts_from: tuple[str, ...] = ()
    mask_from: str | None = None
    n_calls: int = 1


def call_of(layer: dict[str, Any], previous: str | None, *, sequential: bool, recurrent: bool) -> LayerCall:
    """Read one layer's edges; ``previous`` is the layer before it in a sequential model."""
    if sequential:
        return LayerCall((previous,) if previous is not None else ())
    nodes = layer.get("inbound_nodes")
    nodes = nodes if isinstance(nodes, list) else []
    if not nodes:
        return LayerCall(n_calls=0)
    node = nodes[0]
    if isinstance(node, dict):  # Keras 3
        kwargs = node.get("kwargs")
        kwargs = kwargs if isinstance(kwargs, dict) else {}
        args = node.get("args")
        reads = [*_tensors_of(args), *_tensors_of(kwargs.get("sequences") or kwargs.get("inputs"))]
    else:
        reads = list(_tensors_of(node))
        kwargs = _last_kwargs(node)
    states = [*(reads[1:] if recurrent else ()), *_tensors_of(kwargs.get("initial_state"))]
    masks = list(_tensors_of(kwargs.get("mask")))
    # Keras hands a start state over as further inputs of a recurrent layer.
    return LayerCall(
        tuple(reads[:1] if recurrent else reads), tuple(states), masks[0] if masks else None, n_calls=len(nodes)
    )


def _tensors_of(value: Any, depth: int = 0) -> Iterator[str]:
    """Names of the layers whose outputs stand in a serialised argument, in order."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(config, dict):
            history = config.get("keras_history")
            if isinstance(history, list) and history and isinstance(history[0], str):
                yield history[0]
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is int:
            yield value[0]
        else:
            for item in value:
                yield from _tensors_of(item, depth + 1)


def _last_kwargs(node: Any) -> dict[str, Any]:
    """Arguments by name of a Keras 2 call: they stand with its first tensor."""
    entry = node
    for _ in range(_MAX_DEPTH):
        if not isinstance(entry, list) or not entry:
            return {}
        if isinstance(entry[0], str):
            return entry[3] if len(entry) > 3 and isinstance(entry[3], dict) else {}
        entry = entry[0]
    return {}


def mask_after(
    class_name: str, name: str, config: dict[str, Any], arriving: str | None, *, recurrent: bool
) -> str | None:
    """Describe the mask that a layer's output carries, from the one that its input does; None if there is none."""
    if class_name == "Masking":
        value = config.get("mask_value", 0.0)
        shown = f"{value:g}" if isinstance(value, int | float) else "its mask_value"
        return f"'{name}' (Masking: steps whose inputs are all {shown})"
    if class_name == "Embedding":
        return (
            f"'{name}' (Embedding with mask_zero: steps whose token is 0)" if config.get("mask_zero") is True else None
        )
    if recurrent:
        inner = config.get("layer")
        inner = inner.get("config") if isinstance(inner, dict) else None
        returns = config.get("return_sequences") or (isinstance(inner, dict) and inner.get("return_sequences"))
        return arriving if returns else None
    return arriving if class_name in _KEEPS_MASK else None
