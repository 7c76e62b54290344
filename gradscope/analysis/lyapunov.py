"""``lyapunov``: exponents of the driven, autonomous or closed-loop dynamics, with intervals and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case, cases_of
from gradscope.analysis.losses import read_readout
from gradscope.analysis.request import RunRequest
from gradscope.errors import UsageError
from gradscope.jacobians.base import Array
from gradscope.networks.base import Network
from gradscope.networks.closed_loop import ClosedLoop
from gradscope.numerics.covariant import covariant_vectors
from gradscope.numerics.lyapunov import LyapunovSpectrum, measure_lyapunov
from gradscope.records import Result
from gradscope.sources.build import Source
from gradscope.sources.seeding import generator
from gradscope.theory.mean_field import tanh_mean_field

#: Points of the convergence figure.
CURVE_POINTS = 200
#: Largest state for which the independent check mean ln|det J| (an LU factorisation per step) is made.
CHECKED_UP_TO = 256


@dataclass(frozen=True, kw_only=True)
class LyapunovRequest(RunRequest):
    """What ``lyapunov`` asks on top of a run.

    Attributes
    ----------
    k : int or None
        Leading exponents; all when None.
    closed_loop : bool
        The readout's output is the next input.
    readout : str or None
        npz with ``weight`` (inputs, H) and ``bias``.
    covariant : bool
        Covariant Lyapunov vectors as well.
    """

    k: int | None = None
    closed_loop: bool = False
    readout: str | None = None
    covariant: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k is not None and self.k < 1:
            raise UsageError(f"-k {self.k}: wanted at least one exponent.")
        if self.steps < 1:
            raise UsageError("lyapunov needs at least one step: an exponent is a mean over steps.")
        if self.readout is not None and not self.closed_loop:
            raise UsageError("--readout has no meaning for lyapunov without --closed-loop.")

    def settings(self) -> dict[str, Any]:
        """The ``settings`` object of a record."""
        return {**super().settings(), "k": self.k, "closed_loop": self.closed_loop, "covariant": self.covariant}


def measure_exponents(source: Source, request: LyapunovRequest) -> list[Result]:
    """Measure one source: one result, or one per layer and direction of a bidirectional network."""
    if request.closed_loop:
        if source.network is None:
            raise UsageError(f"--closed-loop needs one network; '{source.spec.text}' is not one: pick a layer.")
        source = replace(source, network=_closed(source, source.network, request))
    return [_result(case, request) for case in cases_of(source, request)]


def _closed(source: Source, network: Network, request: LyapunovRequest) -> ClosedLoop:
    """Feed the output back through the file's readout, or a seeded one, W_out ~ N(0, 1/H)."""
    H = len(network.output_components)
    if request.readout is not None:
        weight, bias = read_readout(request.readout, H)
    else:
        width = network.input_size
        weight = generator(request.seed, "readout", "closed loop").standard_normal((width, H)) / np.sqrt(H)
        bias = np.zeros(width)
    return ClosedLoop(network, weight, bias)


def _result(case: Case, request: LyapunovRequest) -> Result:
    n = case.tape.state_size
    if request.k is not None and request.k > n:
        raise UsageError(
            f"-k {request.k}: the state of '{case.source.spec.text}' has {n} components, so at most -k {n}."
        )
    name = str(case.record["name"])
    spectrum = measure_lyapunov(
        case.tape,
        k=request.k,
        log_det=request.k in (None, n) and n <= CHECKED_UP_TO,
        rng=generator(request.seed, "tangents"),
        progress=request.track(f"{name}: exponents"),
    ).pooled()
    warnings = list(case.warnings)
    if not spectrum.converged:
        warnings.append(spectrum.verdict)
    if _rests(case):
        warnings.append(
            "the trajectory rests at a fixed point, so these are its exponents, ln |eigenvalues|; "
            "start elsewhere with --state FILE.npy, or drive the network with --inputs normal"
        )
    columns = {
        "index": np.arange(1, spectrum.exponents.size + 1),
        "exponent": _finite(spectrum.exponents),
        "low": _finite(spectrum.low),
        "high": _finite(spectrum.high),
        "status": spectrum.status.astype(object),
    }
    summary = {
        "max": _scalar(spectrum.exponents[0]),
        "sum": _scalar(spectrum.sum),
        "mean_log_det": None if spectrum.mean_log_det is None else _scalar(spectrum.mean_log_det),
        "kaplan_yorke_dimension": _scalar(spectrum.kaplan_yorke_dimension),
        "entropy_rate": _scalar(spectrum.entropy_rate),
        "converged": bool(spectrum.converged),
        "steps": int(spectrum.steps),
        "verdict": spectrum.verdict,
        "method": spectrum.method,
        **_mean_field(case, request),
    }
    details: dict[str, Any] = {"convergence": _running_means(spectrum)}
    if request.covariant:
        details["covariant"], more = _covariant(case, request)
        summary |= more
    settings = {**case.settings, "k": request.k, "closed_loop": request.closed_loop}
    return Result(case.record, settings, columns, summary, tuple(warnings), details)


def _rests(case: Case) -> bool:
    """Whether no measured step moved the state."""
    if case.trajectory is None:
        return False
    first, middle, last = (case.tape.state(t) for t in (0, case.tape.n_steps // 2, case.tape.n_steps))
    return bool(np.array_equal(first, middle) and np.array_equal(first, last))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _scalar(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _running_means(spectrum: LyapunovSpectrum) -> dict[str, Any]:
    """Time averages of the leading exponents up to each of at most CURVE_POINTS steps."""
    steps = np.cumsum(spectrum.gain_steps)
    if steps.size == 0:
        return {"steps": [], "exponents": []}
    with np.errstate(invalid="ignore"):
        sums = np.cumsum(spectrum.gains * np.asarray(spectrum.gain_steps)[:, None], axis=0) / steps[:, None]
    kept = np.unique(np.linspace(0, steps.size - 1, min(CURVE_POINTS, steps.size)).astype(int))
    leading = sums[kept][:, :4].T
    return {"steps": steps[kept], "exponents": _finite(leading)}


def _mean_field(case: Case, request: LyapunovRequest) -> dict[str, Any]:
    """λ₁ = ½ ln χ of the tanh mean field, where its assumptions hold: a built gaussian rnn, N(0, 1) or no input."""
    spec = case.source.spec
    if spec.kind != "cell" or spec.name != "rnn" or request.closed_loop:
        return {}
    plain = spec["init"] == "gaussian" and spec["activation"] == "tanh" and spec["bias"] == 0 and spec["norm"] == "none"
    if not plain or spec["layers"] != 1 or request.inputs not in ("normal", "zeros"):
        return {}
    variance = spec["input_gain"] ** 2 if request.inputs == "normal" else 0.0
    field = tanh_mean_field(abs(spec["gain"]), input_variance=variance)
    return {"mean_field_exponent": _scalar(field.exponent), "mean_field_q": field.q, "mean_field_chi": field.chi}


def _covariant(case: Case, request: LyapunovRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Covariant vectors: their exponents and the angles between them."""
    vectors = covariant_vectors(case.tape, k=request.k, rng=generator(request.seed, "covariant"))
    first = (0,) * (vectors.exponents.ndim - 1)
    details = {
        "exponents": _finite(vectors.exponents[first]),
        "angles": vectors.angles[first],
        "smallest_angles": vectors.smallest_angles[first],
        "window": int(vectors.window),
    }
    return details, {"splitting_angle": _scalar(np.ravel(vectors.splitting_angle)[0])}
