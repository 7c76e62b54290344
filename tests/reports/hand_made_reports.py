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


def spectrum():
    """Gates of an lstm, eigenvalues on two circles; and a nilpotent-like block that first grows."""
    circle = [[0.9 * math.cos(k), 0.9 * math.sin(k)] for k in range(12)]
    gates = ("i", "f", "g", "o")
    columns = {
        "param": ["weight_hh_l0"] * 4,
        "gate": list(gates),
        "n": [12] * 4,
        "spectral_radius": [0.9, 1.2, 0.9999999, 1.0],
        "spectral_norm": [0.95, 1.9, 2.5, 1.0],
        "log10_condition": [0.1, 3.2, NAN, 0.0],
        "diagonalizable": [True, True, False, True],
        "reconstruction_error": [1e-15, 3e-13, NAN, 1e-16],
        "henrici": [0.3, 0.70, 0.9, 0.0],
        "numerical_radius": [0.92, 1.5, 1.7, 1.0],
        "numerical_abscissa": [0.91, 1.4, 1.6, 1.0],
        "kreiss": [1.0, NAN, 107.4, NAN],
        "peak_power": [0, NAN, 29, NAN],
        "log10_peak_power_norm": [0.0, NAN, 2.38, NAN],
        "eigenvalues": [circle, [[1.2, 0.0], *circle[1:]], circle, circle],
    }
    source = {"name": "lstm", "cell": "lstm", "hidden": 12, "layers": 1, "state_size": 24, "sha256": "ab" * 32}
    outline = [[1.5 * math.cos(a / 10), 1.5 * math.sin(a / 10)] for a in range(63)]
    details = {"numerical_range": {"weight_hh_l0:f": outline}}
    return report("spectrum", Result(source, {}, columns, {}, details=details))


def lyapunov_result(name="rnn", top=-0.1, n=30, converged=True):
    exponents = [top - 0.05 * i for i in range(n)] + [NAN]
    columns = {
        "index": list(range(1, n + 2)),
        "exponent": exponents,
        "low": [e - 0.01 for e in exponents],
        "high": [e + 0.01 for e in exponents],
        "status": ["ok"] * n + ["minus_infinity"],
    }
    summary = {
        "max": top,
        "sum": None,
        "mean_log_det": None,
        "kaplan_yorke_dimension": 0.0,
        "entropy_rate": max(top, 0.0),
        "converged": converged,
        "steps": 1000,
        "mean_field": -0.105,
    }
    source = {"name": name, "cell": "rnn", "hidden": n + 1, "layers": 1, "state_size": n + 1, "sha256": "cd" * 32}
    settings = {"steps": 1000, "inputs": "normal", "batch": 1, "dtype": "float64"}
    steps = list(range(10, 1001, 10))
    details = {
        "convergence": {"steps": steps, "exponents": [[top + 1 / s for s in steps], [top - 0.05 for _ in steps]]}
    }
    return Result(source, settings, columns, summary, details=details)


def lyapunov():
    return report("lyapunov", lyapunov_result(), lyapunov_result("rnn:gain=3", 0.31, converged=False))


def inspect():
    columns = {
        "module": ["encoder.rnn", "encoder.rnn"],
        "cell": ["lstm", "lstm"],
        "layer": [0, 0],
        "direction": ["forward", "backward"],
        "input_size": [16, 16],
        "hidden_size": [64, 64],
        "gates": [["i", "f", "g", "o"]] * 2,
        "biases": [2, 2],
        "activation": ["tanh", "tanh"],
        "gate_activation": ["sigmoid", "sigmoid"],
        "reset": [None, None],
        "dtype": ["float32", "float32"],
        "parameters": [[f"encoder.rnn.weight_{w}_l0{s}" for w in ("ih", "hh")] for s in ("", "_reverse")],
        "facts_from": [{"gates": "convention (PyTorch)", "sizes": "file"}] * 2,
    }
    source = {"name": "model.pt", "cell": None, "sha256": "ef" * 32}
    warning = "Gate order assumed to be PyTorch's (i, f, g, o). Check against the exporter."
    return report("inspect", Result(source, {}, columns, {"skipped": ["optimizer"]}, (warning,)))


def claims():
    columns = {
        "id": ["C01", "C06", "C19"],
        "claim": [
            "eigenvalues of W above or below 1 decide explosion or vanishing",
            "worse than a DNN because W is the same at every step",
            "all steps transmit with equal strength, independent of input",
        ],
        "verdict": ["conditional", "false", "true"],
        "method": [
            "The gradient of seven networks whose eigenvalues are known.",
            "One W at every step against a new W at every step.",
            "The strength of each step beside its input.",
        ],
        "seen": ["5 of 7 networks did something else.", "The gap is 10.85 with one W.", "All steps have strength 0."],
        "in_fact": [
            "Eigenvalues decide for linear networks in the long run.",
            "Both products grow alike; one W spreads more.",
            "Loud inputs close the way.",
        ],
        "measured": ["5 of 7 networks disagree", 10.85, 0.0],
        "expected": ["disagreement on 5 of 7", "10.9 +- 1.2", 1.0],
        "agrees": [True, True, False],
        "seconds": [0.51, 3.2, 0.04],
    }
    line = {"name": "one W", "role": "measured", "x": [0.0, 1.0, 2.0], "y": [0.0, -1.0, None]}
    picture = {
        "name": "dilution", "title": "One W against many", "description": "Norm against the lag.", "x_label": "lag k",
        "y_label": "norm", "lines": [line], "powers": True, "marks": [["half", -0.3]],
    }  # fmt: skip
    details = {
        "experiments": {"C06": [{"control": "same W", "mean": 10.85}, {"control": "own W", "mean": -1.8}]},
        "figures": {"C06": [picture]},
    }
    return report("claims", Result({"name": "claims"}, {}, columns, {"agree": 2, "disagree": 1}, details=details))


def sweep(seeds=3, inits=("gaussian", "orthogonal")):
    gains = [0.5 + 0.1 * i for i in range(11)]
    points = [(g, init, seed) for g in gains for init in inits for seed in range(1, seeds + 1)]
    columns = {
        "gain": [p[0] for p in points],
        "init": [p[1] for p in points],
        "seed": [p[2] for p in points],
        "verdict": ["vanishing" if g < 0.95 else "exploding" if g > 1.05 else "neutral" for g, _, _ in points],
        "log10_rate": [math.log10(g) + 0.01 * (s - 2) for g, _, s in points],
        "horizon": [None if g > 0.95 else int(3 / -math.log10(g)) for g, _, _ in points],
        "horizon_censored": [g > 0.95 for g, _, _ in points],
    }
    settings = {
        "vary": ["gain=0.5:1.5:0.1", "init=gaussian,orthogonal", f"seed=1:{seeds}"],
        "measure": "gradients",
        "steps": 100,
    }
    return report("sweep", Result({"name": "rnn:hidden=64"}, settings, columns, {}))


EVERY = (
    vanishing, exploding, neutral, zero_rows, lstm, censored, ladder, gated_failure,
    spectrum, lyapunov, inspect, claims, sweep,
)  # fmt: skip
