"""``lyapunov``: exponents of the driven, autonomous or closed-loop dynamics, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case, cases_of
from gradscope.analysis.closing_readout import close_loop
from gradscope.analysis.nulls import finite, number_or_none
from gradscope.analysis.request import RunRequest
from gradscope.errors import UsageError
from gradscope.numerics.covariant import covariant_vectors
from gradscope.numerics.exponents import LyapunovSpectrum, entropy_rate, kaplan_yorke_dimension, measure_lyapunov
from gradscope.numerics.qr_sweeps import finite_lag_singular_values
from gradscope.records import Result
from gradscope.sources.given_arrays import GivenArray, GivenReadout
from gradscope.sources.seeding import generator
from gradscope.sources.source import Source
from gradscope.theory.mean_field import tanh_mean_field

#: Points of the convergence figure.
CURVE_POINTS = 200
#: Largest state for which the independent check mean ln|det J| (an LU factorisation per step) is made.
CHECKED_UP_TO = 256
#: Below this many local gains a spread says nothing of the error of their mean: no interval.
GAINS_FOR_AN_INTERVAL = 24
#: Shortest run whose middle half, the rest being alignment, can hold covariant vectors.
STEPS_FOR_COVARIANT = 40


@dataclass(frozen=True, kw_only=True)
class LyapunovRequest(RunRequest):
    """What :func:`gradscope.lyapunov` asks on top of a run."""

    k: int | None = None
    closed_loop: bool = False
    readout: str | GivenArray | GivenReadout | None = None
    covariant: bool = False
    singular_values: bool = False

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
        return {
            **super().settings(),
            "k": self.k,
            "closed_loop": self.closed_loop,
            "covariant": self.covariant,
            "singular_values": self.singular_values,
        }


def measure_exponents(source: Source, request: LyapunovRequest) -> list[Result]:
    """Measure one source: one result, or one per layer and direction of a bidirectional network."""
    return [result for part in exponent_parts(source, request) for result in part()]


def exponent_parts(source: Source, request: LyapunovRequest) -> list[Callable[[], list[Result]]]:
    """What gives the results of a source, each part on its own; a bidirectional network is run here, once for all."""
    if request.closed_loop:
        source = close_loop(source, readout=request.readout, seed=request.seed)
    if not source.gives_several_results:
        return [lambda: [_result(case, request) for case in cases_of(source, request)]]
    return [partial(_listed, case, request) for case in cases_of(source, request)]


def _listed(case: Case, request: LyapunovRequest) -> list[Result]:
    return [_result(case, request)]


def _result(case: Case, request: LyapunovRequest) -> Result:
    n, n_steps = case.tape.state_size, case.tape.n_steps
    text = case.source.spec.text
    if request.k is not None and request.k > n:
        raise UsageError(f"-k {request.k}: the state of '{text}' has {n} components, so at most -k {n}.")
    if n_steps < 1:
        raise UsageError(f"lyapunov needs at least one step, and nothing is left of '{text}': an exponent is a mean.")
    if request.covariant and n_steps < STEPS_FOR_COVARIANT:
        raise UsageError(
            f"--covariant: {n_steps} steps of '{text}' are too few, as a quarter of them at either end only aligns the "
            f"vectors.\nRaise --steps to {STEPS_FOR_COVARIANT} or more."
        )
    name = str(case.record["name"])
    spectrum = _pooled(
        measure_lyapunov(
            case.tape,
            k=request.k,
            log_det=request.k in (None, n) and n <= CHECKED_UP_TO,
            rng=generator(request.seed, "tangents"),
            progress=request.track(f"{name}: exponents"),
        )
    )
    warnings = list(case.warnings)
    if not spectrum.converged:
        warnings.append(spectrum.verdict)
    resting = _rests(case)
    if resting and spectrum.method == "schur":
        warnings.append(
            "the trajectory rests at a fixed point, so these are its exponents, ln |eigenvalues|; "
            "start elsewhere with --state normal or FILE.npy, or drive the network with --inputs normal"
        )
    columns: dict[str, Any] = {
        "index": np.arange(1, spectrum.exponents.size + 1),
        "exponent": finite(spectrum.exponents),
        "low": finite(spectrum.low),
        "high": finite(spectrum.high),
        "status": spectrum.status.astype(object),
    }
    summary = {
        "max": number_or_none(spectrum.exponents[0]),
        "sum": number_or_none(spectrum.sum),
        "mean_log_det": None if spectrum.mean_log_det is None else number_or_none(spectrum.mean_log_det),
        "kaplan_yorke_dimension": number_or_none(spectrum.kaplan_yorke_dimension),
        "entropy_rate": number_or_none(spectrum.entropy_rate),
        "converged": bool(spectrum.converged),
        "steps": int(spectrum.steps),
        "verdict": spectrum.verdict,
        "method": spectrum.method,
        **_mean_field(case, request, at_origin=resting and not np.any(case.tape.state(0))),
    }
    details: dict[str, Any] = {"convergence": _running_means(spectrum)}
    if request.singular_values:
        details["finite_lag"], warning = _finite_lag(case, request)
        mean = np.mean(details["finite_lag"]["log10_singular_values"], axis=0)
        columns["log10_singular_value"] = finite(mean[: spectrum.exponents.size])
        warnings += warning
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


def _running_means(spectrum: LyapunovSpectrum) -> dict[str, Any]:
    """Time averages of the leading exponents up to each of at most CURVE_POINTS steps."""
    steps = np.cumsum(spectrum.gain_steps)
    if steps.size == 0:
        return {"steps": [], "exponents": []}
    with np.errstate(invalid="ignore"):
        sums = np.cumsum(spectrum.gains * np.asarray(spectrum.gain_steps)[:, None], axis=0) / steps[:, None]
    kept = np.unique(np.linspace(0, steps.size - 1, min(CURVE_POINTS, steps.size)).astype(int))
    leading = sums[kept][:, :4].T
    return {"steps": steps[kept], "exponents": finite(leading)}


def _mean_field(case: Case, request: LyapunovRequest, *, at_origin: bool) -> dict[str, Any]:
    """λ₁ = ½ ln χ of the tanh mean field, where its assumptions hold: a built gaussian rnn, N(0, 1) or no input.

    Each pre-activation hears Σ_j U_ij x_j with U_ij ~ N(0, input_gain²/inputs), x_j ~ N(0, 1): variance input_gain².
    A trajectory that rests at h = 0 has q = 0 there, hence χ = g², whatever the attractor is.
    """
    spec = case.source.spec
    if spec.kind != "cell" or spec.name != "rnn" or request.closed_loop:
        return {}
    plain = spec["init"] == "gaussian" and spec["activation"] == "tanh" and spec["bias"] == 0 and spec["norm"] == "none"
    if not plain or spec["layers"] != 1 or request.inputs not in ("normal", "zeros"):
        return {}
    gain = abs(spec["gain"])
    if at_origin:
        at_rest = float(np.log(gain)) if gain else -np.inf
        return {"mean_field_exponent": number_or_none(at_rest), "mean_field_q": 0.0, "mean_field_chi": gain**2}
    variance = spec["input_gain"] ** 2 if request.inputs == "normal" else 0.0
    field = tanh_mean_field(gain, input_variance=variance)
    return {"mean_field_exponent": number_or_none(field.exponent), "mean_field_q": field.q, "mean_field_chi": field.chi}


def _pooled(spectrum: LyapunovSpectrum) -> LyapunovSpectrum:
    """One spectrum for the batch; without intervals where there are too few steps to know them."""
    k = spectrum.exponents.shape[-1]
    pooled = spectrum.pooled()
    if spectrum.method == "schur":
        # Limits are known one by one: their mean is as good, and no average over steps is needed.
        limits = [getattr(spectrum, name).reshape(-1, k).mean(axis=0) for name in ("exponents", "low", "high")]
        mean, low, high = limits
        return replace(
            pooled,
            exponents=mean,
            low=low,
            high=high,
            status=np.where(np.isneginf(mean), "minus_infinity", "ok"),
            sum=np.asarray(mean.sum()),
            kaplan_yorke_dimension=kaplan_yorke_dimension(mean, complete=spectrum.complete),
            entropy_rate=entropy_rate(mean, complete=spectrum.complete),
            converged=True,
            verdict=spectrum.verdict,
            method=spectrum.method,
        )
    if len(spectrum.gain_steps) >= GAINS_FOR_AN_INTERVAL:
        return pooled
    nothing = np.full(k, np.nan)
    steps = f"{pooled.steps} step{'s are' if pooled.steps > 1 else ' is'}"
    verdict = f"{steps} too few for an interval or a verdict; use at least {2 * GAINS_FOR_AN_INTERVAL} (--steps)"
    return replace(pooled, low=nothing, high=nothing, converged=False, verdict=verdict)


def _finite_lag(case: Case, request: LyapunovRequest) -> tuple[dict[str, Any], list[str]]:
    """All singular values of J_T ⋯ J_1, per sample, and how well they are known."""
    n, n_steps = case.tape.state_size, case.tape.n_steps
    found = finite_lag_singular_values(case.tape, 1, n_steps, rng=generator(request.seed, "singular values"))
    details = {
        "first": 1,
        "last": n_steps,
        "log10_singular_values": found.log10_singular_values.reshape(-1, n),
        "sweep_residual": found.sweep_residual,
        "jacobi_residual": found.jacobi_residual,
        "determinant_residual": found.determinant_residual,
        "converged": found.converged,
    }
    if found.converged:
        return details, []
    return details, [
        f"the singular values are known to about {found.jacobi_residual:.1e} only (the rotations did not settle); "
        "trust the leading ones, and compare a shorter product with -T"
    ]


def _covariant(case: Case, request: LyapunovRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Covariant vectors: their exponents and the angles between them."""
    vectors = covariant_vectors(case.tape, k=request.k, rng=generator(request.seed, "covariant"))
    first = (0,) * (vectors.exponents.ndim - 1)
    details = {
        "exponents": finite(vectors.exponents[first]),
        "angles": vectors.angles[first],
        "smallest_angles": vectors.smallest_angles[first],
        "window": int(vectors.window),
    }
    return details, {"splitting_angle": number_or_none(np.ravel(vectors.splitting_angle)[0])}
