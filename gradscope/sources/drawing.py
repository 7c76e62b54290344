"""Draw one layer of a built network from its keys."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation
from gradscope.cells.cell import Cell
from gradscope.errors import UsageError
from gradscope.sources.ensembles import UNIT_FORGET_BIAS, chrono_bias, draw_layer
from gradscope.sources.spec import SourceSpec


def draw_cell(spec: SourceSpec, cell: str, width: int, rng: np.random.Generator, dtype: Any) -> Cell:
    """Draw one layer of a built network: its weights (:func:`draw_layer`), then chrono biases, then its settings."""
    H, cell_type = spec["hidden"], CELLS[cell]
    if cell_type.inits is not None and spec["init"] not in cell_type.inits:
        raise UsageError(
            f"init={spec['init']} in '{spec.text}': {cell}, whose units read themselves alone, is drawn with init="
            f"{' or '.join(cell_type.inits)}."
        )
    drawn = draw_layer(
        spec["init"],
        rng,
        gates=len(cell_type.gates),
        hidden=H,
        width=width,
        gain=spec["gain"],
        input_gain=spec["input_gain"],
        recurrent=cell_type.recurrent_shape(H),
    )
    bias = dict(zip(cell_type.gates, (drawn.bias_ih + spec["bias"]).reshape(-1, H), strict=True))
    if spec["init"] == "keras" and cell in UNIT_FORGET_BIAS:
        bias["f"] = bias["f"] + 1.0
    if cell_type.memory_gate is not None:
        keep, sign = cell_type.memory_gate, cell_type.memory_sign
        if spec["init"] == "chrono":
            times = chrono_bias(rng, H, spec["chrono_max"])
            bias[keep] = bias[keep] + sign * times
            if cell_type.write_gate is not None:
                bias[cell_type.write_gate] = bias[cell_type.write_gate] - times
        bias[keep] = bias[keep] + sign * spec["forget_bias"]
    weight_ih, weight_hh = drawn.weight_ih, drawn.weight_hh
    keys = {name: spec[name] for name in spec.known_keys()}
    if (own := cell_type.draw_recurrent(rng, H, keys)) is not None:
        weight_hh, weight_ih = own[0], weight_ih * own[1]
    settings: dict[str, Any] = {"activation": find_activation(spec["activation"])}
    known, of_cell = spec.known_keys(), {field.name for field in fields(cell_type)}
    settings |= {name: spec[name] for name in cell_type.declared_keys() if name in known and name in of_cell}
    return cell_type.from_layer(
        weight_ih.astype(dtype),
        weight_hh.astype(dtype),
        np.concatenate([bias[gate] for gate in cell_type.gates]).astype(dtype),
        None if drawn.bias_hh is None else drawn.bias_hh.astype(dtype),
        **settings,
    )
