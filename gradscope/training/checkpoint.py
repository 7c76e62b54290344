"""One checkpoint, measured: the summary of ``gradients``, spectral radius, gates, and norms at a few lags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradscope.analysis.gradient_results import measure_gradients
from gradscope.analysis.request import GradientsRequest
from gradscope.cells.cell import Cell
from gradscope.records import Result, plain
from gradscope.sources.source import Source
from gradscope.theory.certificate import certify
from gradscope.theory.radius import spectral_radius

#: Lags of the map over training time, at most.
MAP_LAGS = 24


def measure_checkpoint(source: Source, request: GradientsRequest) -> list[Result]:
    """As ``gradients`` does, with what a row over training time holds beside it in the summary."""
    return [_extended(source, result) for result in measure_gradients(source, request)]


def _extended(source: Source, result: Result) -> Result:
    lags = [int(lag) for lag in result.columns.get("lag", ())]
    kept = _log_spaced(len(lags))
    norms = result.columns.get("log10_norm", ())
    radii = [
        spectral_radius(W, certify(W))
        for cell in _cells_of(source, result)
        for W in (np.asarray(block, dtype=np.float64) for block in cell.recurrent_blocks().values())
    ]
    gates = result.details.get("gates") or {}
    more: dict[str, Any] = {
        "spectral_radius": max(radii, default=None),
        "gates": {name: float(np.mean(values)) for name, values in gates.items()} or None,
        "map_lags": [lags[i] for i in kept],
        "map_log10_norm": [plain(norms[i]) for i in kept],
        "warnings": list(result.warnings),
        "settings": plain(result.settings),
        **{name: result.source.get(name) for name in ("cell", "hidden", "layers", "state_size")},
    }
    return replace(result, summary={**result.summary, **more})


def _cells_of(source: Source, result: Result) -> list[Cell]:
    """The cells that a result is about."""
    named = source.named_cells
    for key in ("layer", "direction"):
        wanted = result.source.get(key)
        if wanted is not None and len({getattr(one, key) for one in named}) > 1:
            named = [one for one in named if getattr(one, key) == wanted]
    return [one.cell for one in named]


def _log_spaced(n: int) -> list[int]:
    """Places of about ``MAP_LAGS`` rows, the first and the last among them."""
    if n <= MAP_LAGS:
        return list(range(n))
    return sorted({0, *(round(i) for i in np.geomspace(1, n - 1, MAP_LAGS - 1))})
