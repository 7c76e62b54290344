"""Reports made by hand, from formulas, for every verb: what the renderers are tested on."""

from __future__ import annotations

import math

from gradscope.records import GateOutcome, Report, Result

ENVIRONMENT = {"python": "3.11.2", "numpy": "2.1.0", "scipy": "1.14.1", "blas": "OpenBLAS 0.3.27", "threads": 1}
NAN = float("nan")


def gradients_result(
    name="rnn",
    rate=-0.31,
    steps=100,
    *,
    epsilon=1e-3,
    cell="rnn",
    zero_from=None,
    h_corner=False,
    theory_rate=None,
    verdict=None,
    interval=0.02,
    lags=None,
    warnings=(),
    bump=0.0,
    **source,
):
    """A gradient 10^(rate k + bump) at every lag, and everything the contract says about it."""
    theory_rate = rate * 1.02 if theory_rate is None else theory_rate
    ks = list(range(steps + 1))
    norm = [NAN if zero_from is not None and k >= zero_from else (0.0 if k == 0 else rate * k + bump) for k in ks]
    finite = [(k, v) for k, v in zip(ks, norm, strict=True) if not math.isnan(v)]
    theory = [theory_rate * k for k in ks]
    above = [k for k, v in finite if v >= math.log10(epsilon)]
    censored = above[-1] == steps
    peak_lag, peak = max(finite, key=lambda kv: kv[1])
    total = rate * steps
    if verdict is None:
        verdict = (
            "vanishing"
            if rate + interval < 0 and total <= -1
            else "exploding"
            if rate - interval > 0 and total >= 1
            else "neutral"
        )
    columns = {
        "lag": ks,
        "log10_norm": norm,
        "log10_norm_std": [NAN] * len(ks),
        "log10_norm_h": [v - 0.5 if k else 0.0 for k, v in zip(ks, norm, strict=True)] if h_corner else [NAN] * len(ks),
        "stable_rank": [1 + 15 / (1 + k) for k in ks],
        "rank": [max(1, 64 - k) for k in ks],
        "log10_theory": theory,
        "log10_eigen": [theory_rate * k - 0.2 * (k > 0) for k in ks],
        "log10_bound": [0.3 * k for k in ks],
        "log10_path_bound": [max(rate, 0) * k + 0.1 * k + abs(bump) for k in ks],
        "log10_dloss_dstate": [v - 0.7 for v in norm],
        "log10_dloss_dweight": [v - 0.2 if k < steps else NAN for k, v in zip(ks, norm, strict=True)],
        "status": ["zero" if math.isnan(v) else "ok" for v in norm],
    }
    return Result(
        source={
            "name": name,
            "cell": cell,
            "inputs": 16,
            "hidden": 64,
            "layers": 1,
            "state_size": 128 if h_corner else 64,
            "sha256": "0123456789abcdef" * 4,
            **source,
        },
        settings={
            "steps": steps,
            "batch": 1,
            "inputs": "normal",
            "dtype": "float64",
            "anchor": "end",
            "lags": lags,
            "epsilon": epsilon,
            "loss": "cross-entropy",
            "transient": 0,
        },
        columns=columns,
        summary={
            "verdict": verdict,
            "log10_rate": rate,
            "log10_rate_low": rate - interval,
            "log10_rate_high": rate + interval,
            "horizon": None if censored else above[-1],
            "horizon_censored": censored,
            "peak_lag": peak_lag,
            "log10_peak": peak,
            "bound_violations": 0,
            "theory_violations": sum(v > t for (k, v), t in zip(finite, theory, strict=False)),
            "theory": "(tanh′)^k W^k",
            "bound": "(γσ₁)^k",
            "epsilon": epsilon,
        },
        warnings=tuple(warnings),
    )


def report(verb, *results, gates=(), command=None, seed=0):
    return Report(
        schema=f"gradscope/{verb}/1",
        gradscope="0.1.0",
        command=tuple(command or (verb, *(r.source["name"] for r in results))),
        seed=seed,
        environment=ENVIRONMENT,
        results=tuple(results),
        gates=tuple(gates),
    )


def vanishing():
    return report(
        "gradients", gradients_result(warnings=["Gaussian input can mislead. Measure on real input: --inputs FILE.npy"])
    )


def exploding():
    return report("gradients", gradients_result("rnn:gain=3", 0.12, verdict="exploding", bump=0.4, interval=0.01))


def neutral():
    return report("gradients", gradients_result("rnn:init=orthogonal,activation=identity", 0.0, interval=0.0))


def zero_rows():
    return report("gradients", gradients_result("nilpotent.npy", -0.1, 40, zero_from=8))


def lstm():
    return report(
        "gradients", gradients_result("lstm", -0.025, cell="lstm", h_corner=True, interval=0.001, theory_rate=-0.03)
    )


def censored():
    return report(
        "gradients", gradients_result("lstm:forget_bias=3", -0.012, cell="lstm", h_corner=True, interval=0.001)
    )


def ladder():
    return report(
        "gradients",
        gradients_result("rnn", -0.31),
        gradients_result("skip", 0.12, cell="skip", interval=0.01),
        gradients_result("forget-gate", -0.2, cell="forget-gate", theory_rate=-0.25),
        gradients_result("input-gate", -0.21, cell="input-gate", zero_from=30),
        gradients_result("lstm", -0.012, cell="lstm", interval=0.001, warnings=["Near the edge. Raise --steps."]),
    )  # fmt: skip


def gated_failure():
    base = vanishing()
    gates = [
        GateOutcome("horizon < 50", "fail", False, 9, "rnn", "horizon < 50 failed on rnn"),
        GateOutcome("log10_norm@lag=100 < -6", "warn", True, -31.0, "rnn"),
    ]
    return report("gradients", *base.results, gates=gates)
