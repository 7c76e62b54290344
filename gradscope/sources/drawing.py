"""Draw one layer of a built network from its keys."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation
from gradscope.cells.base import Cell
from gradscope.sources.ensembles import ENSEMBLES, chrono_bias
from gradscope.sources.spec import SourceSpec, known_keys


def draw_cell(spec: SourceSpec, cell: str, width: int, rng: np.random.Generator, dtype: Any) -> Cell:
    """Draw one layer of a built network.

    Draws come in a fixed order (W_hh gate by gate, W_xh, chrono biases), so a network keeps its W_hh when only
    its input gain or bias changes.
    """
    H, cell_type = spec["hidden"], CELLS[cell]
    weight_hh = np.concatenate([ENSEMBLES[spec["init"]](rng, H, spec["gain"]) for _ in cell_type.gates])
    weight_ih = rng.standard_normal((H * len(cell_type.gates), width)) * (spec["input_gain"] / np.sqrt(width))
    bias = {gate: np.full(H, spec["bias"]) for gate in cell_type.gates}
    if cell_type.memory_gate is not None:
        if spec["init"] == "chrono":
            times = chrono_bias(rng, H, spec["chrono_max"])
            bias[cell_type.memory_gate] = bias[cell_type.memory_gate] + times
            if cell_type.write_gate is not None:
                bias[cell_type.write_gate] = bias[cell_type.write_gate] - times
        bias[cell_type.memory_gate] = bias[cell_type.memory_gate] + spec["forget_bias"]
    settings: dict[str, Any] = {"activation": find_activation(spec["activation"])}
    known, of_cell = known_keys(spec.kind, spec.name, spec.given), {field.name for field in fields(cell_type)}
    settings |= {name: spec[name] for name in cell_type.declared_keys() if name in known and name in of_cell}
    return cell_type.from_layer(
        weight_ih.astype(dtype),
        weight_hh.astype(dtype),
        np.concatenate([bias[gate] for gate in cell_type.gates]).astype(dtype),
        None,
        **settings,
    )
