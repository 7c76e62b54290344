"""``spectrum``: one row per recurrent block, eigenvalues beside the quantities that say what they hide."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.request import RunRequest
from gradscope.errors import InputError
from gradscope.jacobians.base import Array
from gradscope.records import Result
from gradscope.sources.build import RecurrentBlock, Source
from gradscope.theory.eigen import Eigendecomposition, eigendecompose
from gradscope.theory.kreiss import kreiss_constant
from gradscope.theory.numerical_range import numerical_abscissa, numerical_radius, numerical_range_boundary
from gradscope.theory.powers import peak_power

#: Columns of a row, in the order of the contract; the rest are additions.
COLUMNS = (
    "param",
    "gate",
    "n",
    "spectral_radius",
    "spectral_norm",
    "log10_condition",
    "diagonalizable",
    "reconstruction_error",
    "henrici",
    "numerical_radius",
    "numerical_abscissa",
    "kreiss",
    "peak_power",
    "log10_peak_power_norm",
    "eigenvalues",
    "spectral_radius_low",
    "spectral_radius_high",
    "max_eigenvalue_condition",
    "ill_conditioned",
)


def measure_spectrum(source: Source, request: RunRequest) -> list[Result]:
    """Decompose every recurrent block of a source.

    Raises
    ------
    InputError
        The source has none (ready Jacobians).
    """
    if not source.blocks:
        raise InputError(
            f"'{source.spec.text}' holds ready Jacobians and no recurrent matrix: spectrum needs weights.\n"
            "Try: gradscope gradients, or lyapunov."
        )
    rows: list[dict[str, Any]] = []
    ranges: dict[str, Any] = {}
    for done, block in enumerate(source.blocks):
        if request.progress is not None:
            request.progress(f"{source.spec.text}: spectrum", done, len(source.blocks))
        W = np.asarray(block.matrix, dtype=np.float64)
        eigen = eigendecompose(W)
        rows.append(_row(block, W, eigen))
        boundary = numerical_range_boundary(W, 128)
        ranges[_label(block)] = [[float(z.real), float(z.imag)] for z in boundary]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in COLUMNS}
    radii = columns["spectral_radius"]
    summary = {
        "max_spectral_radius": max(radii),
        "max_spectral_norm": max(columns["spectral_norm"]),
        "blocks": len(rows),
    }
    warnings = [*source.warnings]
    warnings += [_doubt(row) for row in rows if row["ill_conditioned"]]
    return [
        Result(source.record, {"dtype": request.dtype}, columns, summary, tuple(warnings), {"numerical_range": ranges})
    ]


def _doubt(row: dict[str, Any]) -> str:
    return (
        f"{row['param']}{_of(row['gate'])}: {row['ill_conditioned']} of {row['n']} eigenvalues are ill-conditioned, "
        f"ρ lies in [{row['spectral_radius_low']:.6g}, {row['spectral_radius_high']:.6g}]; "
        "read the norm and the numerical radius instead"
    )


def _of(gate: str | None) -> str:
    return f" ({gate})" if gate else ""


def _label(block: RecurrentBlock) -> str:
    return block.param if block.gate is None else f"{block.param}:{block.gate}"


def _row(block: RecurrentBlock, W: Array, eigen: Eigendecomposition) -> dict[str, Any]:
    peak, kreiss = peak_power(W), kreiss_constant(W)
    condition = eigen.condition_numbers.max() if eigen.n else 1.0
    return {
        "param": block.param,
        "gate": block.gate,
        "n": eigen.n,
        "spectral_radius": eigen.spectral_radius,
        "spectral_norm": eigen.spectral_norm,
        "log10_condition": eigen.log10_condition,
        "diagonalizable": eigen.diagonalizable,
        "reconstruction_error": eigen.reconstruction_error,
        "henrici": eigen.henrici,
        "numerical_radius": numerical_radius(W).value,
        "numerical_abscissa": numerical_abscissa(W),
        "kreiss": None if kreiss is None else kreiss.value,
        "peak_power": None if peak is None else peak.k,
        "log10_peak_power_norm": None if peak is None else peak.log10_norm,
        "eigenvalues": [[float(z.real), float(z.imag)] for z in eigen.eigenvalues],
        "spectral_radius_low": eigen.spectral_radius_low,
        "spectral_radius_high": eigen.spectral_radius_high,
        "max_eigenvalue_condition": float(condition) if np.isfinite(condition) else None,
        "ill_conditioned": int(eigen.ill_conditioned.sum()),
    }
