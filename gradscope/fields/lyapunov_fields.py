"""Fields of ``lyapunov``: one row per exponent."""

from __future__ import annotations

from gradscope.fields.field import NO_MEANING, NOT_COMPUTED, TOO_SHORT, Field

_LOST = "−infinity: rank-deficient directions, as the status says"

ROWS = (
    Field("index", "count", "index", "from 1, largest exponent first", shown=True, required=True),
    Field("exponent", "number", "exponent", "time average of the growth of one direction", unit="nats/step",
          null=_LOST, shown=True, required=True),
    Field("low", "number", "low", "lower end of the 95 % interval", unit="nats/step", null=TOO_SHORT, shown=True,
          required=True, compared=False),
    Field("high", "number", "high", "upper end of the 95 % interval", unit="nats/step", null=TOO_SHORT, shown=True,
          required=True, compared=False),
    Field("status", "text", "status", "what kind of number the exponent is", shown=True, required=True),
    Field("log10_singular_value", "number", "singular value", "of the whole product J_T … J_1, mean over the batch",
          unit="log10", null="exactly zero, or not computed"),
)  # fmt: skip

SUMMARY = (
    Field("max", "number", "largest", "the largest exponent", unit="nats/step", null=_LOST, better="nearer to 0",
          shown=True, required=True),
    Field("sum", "number", "sum", "of all exponents", unit="nats/step", null="−infinity, or not all were computed",
          shown=True, required=True),
    Field("mean_log_det", "number", "mean ln|det J|", "the same from determinants", unit="nats/step",
          null="−infinity, or not all were computed", shown=True, required=True),
    Field("kaplan_yorke_dimension", "number", "Kaplan–Yorke dimension", "of the attractor", null=NOT_COMPUTED,
          shown=True, required=True),
    Field("entropy_rate", "number", "entropy rate", "sum of the positive exponents", unit="nats/step",
          null=NOT_COMPUTED, shown=True, required=True),
    Field("converged", "boolean", "converged",
          "whether two frames and both halves of the run agree, and the largest is known", null=TOO_SHORT,
          better="true", shown=True, required=True),
    Field("steps", "count", "steps", "steps averaged over", unit="steps", shown=True, required=True),
    Field("verdict", "text", "convergence", "in words: converged, or why not", null=NOT_COMPUTED),
    Field("method", "text", "method", "how the exponents were computed", null=NOT_COMPUTED),
    Field("mean_field_exponent", "number", "mean field",
          "largest exponent expected for gaussian weights of infinite size", unit="nats/step", null=NO_MEANING),
    Field("mean_field_q", "number", "mean field q", "variance of the units there", null=NO_MEANING),
    Field("mean_field_chi", "number", "mean field χ", "growth factor of a perturbation's variance there",
          null=NO_MEANING),
    Field("splitting_angle", "number", "splitting angle",
          "smallest angle between growing and shrinking covariant vectors", unit="rad", null=NOT_COMPUTED),
)  # fmt: skip
