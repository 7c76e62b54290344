"""The names a report of each verb carries: what gates, queries and schemas may speak of (contract, section 4)."""

from __future__ import annotations

_ARE_TEXT = frozenset(
    {"status", "verdict", "phase", "param", "gate", "theory", "bound", "claim", "id", "measured", "expected", "module",
     "cell", "direction", "activation", "gate_activation", "reset", "dtype", "facts_from", "where", "field",
     "conclusion", "method", "tbptt_kind"}
)  # fmt: skip
LISTS = frozenset({"eigenvalues", "log10_dloss_dweight_layers", "gates", "parameters"})

GRADIENTS_ROWS = (
    "lag", "log10_norm", "log10_norm_std", "log10_norm_h", "stable_rank", "rank", "log10_theory", "log10_eigen",
    "log10_bound", "log10_path_bound", "log10_block_bound", "log10_dloss_dstate", "log10_dloss_dweight",
    "log10_dloss_dweight_layers", "log10_dloss_dweight_tail", "log10_dloss_dinput", "log10_doutput_dinput",
    "phase", "status", "step", "log10_norm_frobenius", "share",
)  # fmt: skip
GRADIENTS_SUMMARY = (
    "verdict", "log10_rate", "log10_rate_low", "log10_rate_high", "horizon", "horizon_censored", "peak_lag",
    "log10_peak", "bound_violations", "theory_violations", "theory", "bound", "epsilon", "certificate",
    "vanishes_for_every_input", "log10_total", "rank", "effective_rank", "influence_step", "log10_influence",
    "log10_influence_permuted", "log10_influence_rescaled", "log10_dloss_dweight_total", "tbptt_length", "tbptt_bias",
    "tbptt_bias_worst", "tbptt_kind", "need", "enough",
)  # fmt: skip
SPECTRUM_ROWS = (
    "param", "gate", "n", "spectral_radius", "spectral_norm", "log10_condition", "diagonalizable",
    "reconstruction_error", "henrici", "numerical_radius", "numerical_abscissa", "kreiss", "peak_power",
    "log10_peak_power_norm", "eigenvalues", "spectral_radius_low", "spectral_radius_high", "max_eigenvalue_condition",
    "ill_conditioned", "kreiss_upper", "peak_proven", "certificate", "vanishes_for_every_input", "scaled_norm",
    "log10_scaled_condition", "pseudospectral_radius", "pseudospectral_epsilon", "pseudospectral_certified",
    "surrogate_norm", "surrogate_peak_power", "surrogate_log10_peak_power_norm", "conclusion",
)  # fmt: skip
SPECTRUM_SUMMARY = (
    "max_spectral_radius", "max_spectral_norm", "max_numerical_radius", "max_henrici", "max_kreiss",
    "max_log10_peak_power_norm", "max_scaled_norm", "certificate", "vanishes_for_every_input", "blocks",
)  # fmt: skip
LYAPUNOV_ROWS = ("index", "exponent", "low", "high", "status", "log10_singular_value")
LYAPUNOV_SUMMARY = (
    "max", "sum", "mean_log_det", "kaplan_yorke_dimension", "entropy_rate", "converged", "steps", "method",
    "mean_field_exponent", "mean_field_q", "mean_field_chi", "splitting_angle",
)  # fmt: skip
INSPECT_ROWS = (
    "module", "cell", "layer", "direction", "input_size", "hidden_size", "gates", "biases", "activation",
    "gate_activation", "reset", "dtype", "parameters", "facts_from",
)  # fmt: skip
CLAIMS_ROWS = ("id", "claim", "verdict", "measured", "expected", "agrees", "seconds")
DIFF_ROWS = ("where", "field", "base", "new", "change", "noise", "size", "verdict")
DIFF_SUMMARY = ("worse", "better", "changed", "same", "only_base", "only_new", "largest_worse")
SOURCE_FIELDS = (
    "source", "name", "cell", "hidden", "inputs", "layers", "layer", "direction", "state_size", "sha256",
)  # fmt: skip
SOURCE_KEYS = (
    "hidden", "inputs", "layers", "bidirectional", "activation", "init", "gain", "input_gain", "bias", "forget_bias",
    "norm", "dropout", "classes", "cell", "vocab", "feedback", "max_steps", "temperature", "chrono_max", "param",
    "layer", "direction", "gate_activation", "reset", "encoder", "decoder", "head", "embedding", "start", "end",
    "seed", "T", "epsilon",
)  # fmt: skip

ROWS: dict[str, tuple[str, ...]] = {
    "gradients": GRADIENTS_ROWS,
    "spectrum": SPECTRUM_ROWS,
    "lyapunov": LYAPUNOV_ROWS,
    "inspect": INSPECT_ROWS,
    "claims": CLAIMS_ROWS,
    "diff": DIFF_ROWS,
    # A sweep's rows are the varied keys, then the summary fields of whatever was measured.
    "sweep": (
        *SOURCE_KEYS,
        *GRADIENTS_SUMMARY,
        *SPECTRUM_ROWS,
        *SPECTRUM_SUMMARY,
        *LYAPUNOV_SUMMARY,
        "status",
        "error",
    ),
}
SUMMARY: dict[str, tuple[str, ...]] = {
    "gradients": GRADIENTS_SUMMARY,
    "spectrum": SPECTRUM_SUMMARY,
    "lyapunov": LYAPUNOV_SUMMARY,
    "inspect": (),
    "claims": (),
    "diff": DIFF_SUMMARY,
    "sweep": (),
}


def is_text(name: str) -> bool:
    """Whether a field holds words, so that only ``==`` and ``!=`` make sense for it."""
    return name in _ARE_TEXT
