"""``spectrum``: one row per recurrent block, eigenvalues beside the quantities that say what they hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradscope.analysis.block_conclusion import conclude, is_slope_times_weight
from gradscope.analysis.contracting import contraction_by_weights
from gradscope.analysis.nulls import nulls
from gradscope.analysis.request import RunRequest
from gradscope.errors import InputError, UntrustedNumbersError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.records import Result
from gradscope.sources.source import RecurrentBlock, Source
from gradscope.theory.certificate import certify
from gradscope.theory.decomposition import POWERS, write_out
from gradscope.theory.eigen import Eigendecomposition, eigendecompose
from gradscope.theory.enclosure import MOST_ENCLOSED, enclose_eigenvalues, import_flint
from gradscope.theory.kreiss import kreiss_constant
from gradscope.theory.non_normality import normal_surrogate
from gradscope.theory.numerical_range import numerical_abscissa, numerical_radius, numerical_range_boundary
from gradscope.theory.participation import SlowMode, slow_modes
from gradscope.theory.powers import peak_power
from gradscope.theory.pseudospectra import CRISS_CROSS_LIMIT, pseudospectral_radius
from gradscope.theory.radius import with_best_radius

#: ε/‖W‖ of the pseudospectral radius: a perturbation of one percent.
RELATIVE_EPSILON = 1e-2
#: Units of the largest block whose matrices a person can look at (``--matrices``).
MOST_WRITTEN_OUT = 8
NOT_ENCLOSED: dict[str, Any] = {"eigenvalue_enclosures": None, "enclosure_bits": None}


@dataclass(frozen=True, kw_only=True)
class SpectrumRequest(RunRequest):
    """What :func:`gradscope.spectrum` asks on top of a run (whose inputs it does not read)."""

    pseudospectrum: float | None = None
    matrices: bool = False
    certify: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pseudospectrum is not None and not 0 < self.pseudospectrum < float("inf"):
            raise UsageError(f"--pseudospectrum {self.pseudospectrum}: wanted a number above 0, a share of ‖W‖.")


def spectrum_parts(source: Source, request: RunRequest) -> list[Callable[[], list[Result]]]:
    """The one part of a source: its blocks stand in one result."""
    return [partial(measure_spectrum, source, request)]


def measure_spectrum(source: Source, request: RunRequest) -> list[Result]:
    """Decompose every recurrent block of a source.

    Raises
    ------
    InputError
        The source has none (ready Jacobians, gates that hear the input alone).
    UsageError
        ``matrices`` of a block that is too large to be looked at.
    """
    if not source.blocks and source.named_cells:
        raise InputError(
            f"'{source.spec.text}' has no recurrent matrix, its gates hear the input alone: spectrum needs one.\n"
            "Try: gradscope gradients, or lyapunov."
        )
    if not source.blocks:
        raise InputError(
            f"'{source.spec.text}' holds ready Jacobians and no recurrent matrix: spectrum needs weights.\n"
            "Try: gradscope gradients, or lyapunov."
        )
    written_out = isinstance(request, SpectrumRequest) and request.matrices
    largest = max(source.blocks, key=lambda block: len(block.matrix))
    if written_out and len(largest.matrix) > MOST_WRITTEN_OUT:
        raise UsageError(
            f"--matrices writes out blocks of at most {MOST_WRITTEN_OUT} units; {largest.param} of "
            f"'{source.spec.text}' has {len(largest.matrix)}: drop it, or build a smaller one (hidden=4)."
        )
    certifies = isinstance(request, SpectrumRequest) and request.certify
    if certifies:
        import_flint()
    rows: list[dict[str, Any]] = []
    ranges: dict[str, Any] = {}
    modes: dict[str, Any] = {}
    certificates: list[float | None] = []
    share = request.pseudospectrum if isinstance(request, SpectrumRequest) else None
    for done, block in enumerate(source.blocks):
        if request.progress is not None:
            request.progress(f"{source.spec.text}: spectrum", done, len(source.blocks))
        W = np.asarray(block.matrix, dtype=np.float64)
        eigen = eigendecompose(W)
        row, certificate = _row(source, block, W, eigen, share, written_out=written_out)
        row |= _enclosed(W, row) if certifies else NOT_ENCLOSED
        rows.append(row)
        modes[_label(block)] = [_mode(mode) for mode in slow_modes(eigen)]
        certificates.append(certificate)
        boundary = numerical_range_boundary(W, 128)
        ranges[_label(block)] = [[float(z.real), float(z.imag)] for z in boundary]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    settings: dict[str, Any] = {"dtype": request.dtype, **source.settings}
    if certifies:
        settings["certify"] = True
    if share is not None:
        settings["pseudospectrum"] = share
    warnings = [*source.warnings, *_projected(source), *(_doubt(row) for row in rows if row["ill_conditioned"])]
    if certifies:
        warnings += [_not_enclosed(row) for row in rows if row["eigenvalue_enclosures"] is None]
    proven = contraction_by_weights(source)
    if proven is not None and proven.every is not None:
        certificates = [proven.every.factor]
        columns["vanishes_for_every_input"] = [True] * len(rows)
    summary = _summary(columns, certificates)
    summary["contraction"] = None if proven is None or proven.every is None else proven.every.factor
    summary["contracts_within"] = None if proven is None else proven.within
    summary["blocks"] = len(rows)
    details = {"numerical_range": ranges, "slow_modes": modes}
    return [Result(source.record, settings, columns, summary, tuple(warnings), details)]


def _summary(columns: dict[str, Any], certificates: list[float | None]) -> dict[str, Any]:
    """The extremes over blocks, for gates; null where no block has the quantity."""

    def largest(name: str) -> float | None:
        return max((value for value in columns[name] if value is not None), default=None)

    certificate = None if None in certificates else max(c for c in certificates if c is not None)
    return {
        "max_spectral_radius": largest("spectral_radius"),
        "max_spectral_norm": largest("spectral_norm"),
        "max_numerical_radius": largest("numerical_radius"),
        "max_henrici": largest("henrici"),
        "max_kreiss": largest("kreiss"),
        "max_log10_peak_power_norm": largest("log10_peak_power_norm"),
        "max_scaled_norm": largest("scaled_norm"),
        "certificate": certificate,
        "vanishes_for_every_input": certificate is not None and certificate < 1.0,
    }


def _projected(source: Source) -> list[str]:
    """What stands for W_hh where h is projected."""
    if not any(block.cell is not None and block.cell.hidden_size != block.cell.gate_size for block in source.blocks):
        return []
    return ["the blocks are W_g·W_hr: a gate's rows of weight_hh times the projection, from units to units"]


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


def _row(
    source: Source,
    block: RecurrentBlock,
    W: Array,
    eigen: Eigendecomposition,
    share: float | None,
    *,
    written_out: bool,
) -> tuple[dict[str, Any], float | None]:
    """A row in the contract's order, additions behind it; and the block's certificate of vanishing, if it has one."""
    proves = is_slope_times_weight(block)
    slope = block.cell.activation.max_slope if block.cell is not None and proves else 1.0
    proof = certify(W, slope=slope)
    eigen = with_best_radius(W, eigen, proof)
    peak = peak_power(W, decomposition=eigen)
    kreiss = kreiss_constant(W, decomposition=eigen)
    condition = eigen.condition_numbers.max() if eigen.n else 1.0
    row = {
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
        "kreiss_upper": None if kreiss is None or not np.isfinite(kreiss.power_bound) else kreiss.power_bound,
        "peak_proven": None if peak is None else peak.proven,
        "certificate": proof.value if proves else None,
        "vanishes_for_every_input": proves and slope * proof.value < 1.0,
        "scaled_norm": proof.scaled.value,
        "log10_scaled_condition": proof.scaled.log10_condition,
        **_pseudospectrum(W, eigen, share),
        **_surrogate(W, eigen),
        "conclusion": conclude(source, block, eigen, peak=peak, proof=proof),
    }
    if written_out:
        row["matrices"] = _matrices(W, eigen)
    return row, slope * proof.value if proves else None


def _enclosed(W: Array, row: dict[str, Any]) -> dict[str, Any]:
    """Arb's discs in place of float64's eigenvalues, and what they say of ρ; nulls where it has none."""
    found = enclose_eigenvalues(W)
    if found is None:
        return NOT_ENCLOSED
    low = max(found.radius_low, row["spectral_radius_low"])
    high = min(found.radius_high, row["spectral_radius_high"])
    if low > high:  # two proofs that exclude each other
        raise UntrustedNumbersError(f"ρ ≥ {low!r} by one road and ≤ {high!r} by another: report this.")
    discs = [[z.real, z.imag, r] for z, r in zip(found.eigenvalues.tolist(), found.radii.tolist(), strict=True)]
    how = f"with {found.bits} bits" if found.bits else "from the exact characteristic polynomial"
    return {
        "eigenvalues": [disc[:2] for disc in discs],
        "spectral_radius": min(max(row["spectral_radius"], low), high),
        "spectral_radius_low": low,
        "spectral_radius_high": high,
        "eigenvalue_enclosures": discs,
        "enclosure_bits": found.bits,
        "conclusion": f"{row['conclusion']} Arb encloses every eigenvalue ({how}) within {found.radii.max():.1e}: "
        f"ρ is in [{low!r}, {high!r}], proved.",
    }


def _not_enclosed(row: dict[str, Any]) -> str:
    if row["n"] > MOST_ENCLOSED:
        return (
            f"{row['param']}{_of(row['gate'])}: {row['n']} units, --certify encloses blocks of at most {MOST_ENCLOSED}"
        )
    return f"{row['param']}{_of(row['gate'])}: Arb could not tell the eigenvalues apart, nothing is certified"


def _matrices(W: Array, eigen: Eigendecomposition) -> dict[str, Any]:
    """P, P⁻¹ and Λ as [re, im] pairs, the W they rebuild, and powers of eigenvalues beside powers of W."""
    found = write_out(W, eigen)
    return {
        "P": _pairs(found.P),
        "eigenvalues": _pairs(eigen.eigenvalues),
        "P_inverse": None if found.P_inverse is None else _pairs(found.P_inverse),
        "W": None if found.W is None else found.W.tolist(),
        "powers": {
            "k": list(POWERS),
            "log10_eigenvalues": [nulls(row) for row in found.log10_eigenvalue_powers],
            "log10_norm": nulls(found.log10_power_norms),
            "log10_rebuilt_norm": nulls(found.log10_rebuilt_norms),
        },
    }


def _mode(mode: SlowMode) -> dict[str, Any]:
    return {
        "eigenvalue": [mode.eigenvalue.real, mode.eigenvalue.imag],
        "steps": mode.steps,
        "units": mode.units,
        "participation": mode.participation.tolist(),
        "eigenvector": _pairs(mode.eigenvector),
    }


def _pairs(values: Array) -> list[Any]:
    """Complex numbers as [re, im], nested as the array is."""
    values = np.asarray(values, dtype=np.complex128)
    pairs: list[Any] = np.stack([values.real, values.imag], axis=-1).tolist()
    return pairs


def _pseudospectrum(W: Array, eigen: Eigendecomposition, share: float | None) -> dict[str, Any]:
    """ρ_ε with ε = share·‖W‖; null where it was not asked for and would take long, or W = 0."""
    epsilon = (RELATIVE_EPSILON if share is None else share) * eigen.spectral_norm
    if epsilon == 0 or (share is None and eigen.n > CRISS_CROSS_LIMIT):
        return {"pseudospectral_radius": None, "pseudospectral_epsilon": None, "pseudospectral_certified": None}
    found = pseudospectral_radius(W, epsilon)
    return {
        "pseudospectral_radius": found.value,
        "pseudospectral_epsilon": epsilon,
        "pseudospectral_certified": found.certified,
    }


def _surrogate(W: Array, eigen: Eigendecomposition) -> dict[str, Any]:
    """The control: what the same quantities are for a normal matrix with the same eigenvalues."""
    N = normal_surrogate(W)
    peak = None if eigen.spectral_radius >= 1 else peak_power(N)
    return {
        "surrogate_norm": float(np.linalg.norm(N, 2)),
        "surrogate_peak_power": None if peak is None else peak.k,
        "surrogate_log10_peak_power_norm": None if peak is None else peak.log10_norm,
    }
