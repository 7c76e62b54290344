"""Unit by unit, what a run's gates and slopes let through: time constants, saturated and dead units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.trajectory import Trajectory

#: A gate nearer to 0 or 1 than this is saturated; a candidate slope below it passes next to nothing.
SATURATED = 0.05


@dataclass(frozen=True)
class LayerMemory:
    """One layer over a run.

    Attributes
    ----------
    time_constants : ndarray, shape (H,), or None
        −1/⟨ln f⟩ of each unit's direct path, in steps: how long it remembers by itself; inf where it never forgets,
        None where the cell has no direct path.
    gates : mapping of str to (float, float)
        Mean opening and share of saturated values of each gate.
    slope : float
        Mean of the candidate's slope φ′ over units, steps and batch.
    dead : float
        Share of units whose candidate slope is below 0.05 at more than nine steps in ten.
    """

    time_constants: Array | None
    gates: Mapping[str, tuple[float, float]]
    slope: float
    dead: float


def measure_memory_units(trajectory: Trajectory) -> list[LayerMemory]:
    """One pass over the run; bottom layer first, nothing for a run without steps."""
    if not trajectory.n_steps:
        return []
    sums: list[dict[str, Array]] = []
    count = 0
    for segment in trajectory.segments("end"):
        for index, traces in enumerate(segment.linearised.traces):
            slope = np.exp(traces.log_slope)
            parts = {"slope": slope, "flat": slope < SATURATED}
            if traces.log_direct is not None:
                parts["direct"] = traces.log_direct
            for gate, values in traces.gates.items():
                parts |= {f"mean {gate}": values, f"ends {gate}": np.abs(values - 0.5) > 0.5 - SATURATED}
            added = {name: part.reshape(-1, part.shape[-1]).sum(axis=0) for name, part in parts.items()}
            if index == len(sums):
                sums.append(added)
            else:
                sums[index] = {name: sums[index][name] + value for name, value in added.items()}
        # One step and one sequence are one.
        count += int(np.prod(segment.linearised.traces[0].log_slope.shape[:-1]))
    return [_layer(layer, count) for layer in sums]


def time_constants_of(mean_log_direct: Array) -> Array:
    """−1/⟨ln f⟩ in steps, f's geometric mean being what a product of them decays with; inf where it does not decay."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(mean_log_direct < 0, -1.0 / mean_log_direct, np.inf))


def _layer(sums: Mapping[str, Array], count: int) -> LayerMemory:
    times = time_constants_of(sums["direct"] / count) if "direct" in sums else None
    names = [name.removeprefix("mean ") for name in sums if name.startswith("mean ")]
    gates = {
        name: (float(sums[f"mean {name}"].mean() / count), float(sums[f"ends {name}"].mean() / count)) for name in names
    }
    slope = float(sums["slope"].mean() / count)
    return LayerMemory(times, gates, slope, float((sums["flat"] > 0.9 * count).mean()))


def time_constant_quantiles(layers: Sequence[Array | None]) -> tuple[float, float, float] | None:
    """A tenth, the median and nine tenths of all units' time constants, in steps; None without a direct path."""
    times = [layer for layer in layers if layer is not None]
    if not times:
        return None
    low, median, high = np.quantile(np.concatenate(times), [0.1, 0.5, 0.9], method="nearest")
    return float(low), float(median), float(high)


def time_constant_summary(layers: Sequence[Array | None]) -> dict[str, float | None]:
    """The quantiles as summary fields; null without a direct path, or where it does not decay."""
    quantiles = time_constant_quantiles(layers) or (None, None, None)
    low, median, high = (value if value is None or np.isfinite(value) else None for value in quantiles)
    return {"time_constant_median": median, "time_constant_q10": low, "time_constant_q90": high}
