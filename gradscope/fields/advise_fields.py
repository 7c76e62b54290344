"""Fields of ``advise`` (one row per proposed change) and ``series`` (one row per checkpoint)."""

from __future__ import annotations

from dataclasses import replace

from gradscope.fields import gradients_fields
from gradscope.fields.field import NOT_COMPUTED, TOO_SHORT, Field

_ALONE = "the change leaves the network alone"
_BEYOND = "beyond the last lag (censored), or the change leaves the network alone"
_NO_LOSS = "there is no loss"

ADVISE_ROWS = (
    Field("kind", "text", "kind", "what is changed: tbptt, clip, forget_bias, gain, init, norm, leak …", shown=True,
          required=True),
    Field("change", "text", "change", "what to append to the source", null=_ALONE, shown=True, required=True),
    Field("before_horizon", "integer", "horizon before", "horizon without the change", unit="steps", null=_BEYOND,
          shown=True, required=True),
    Field("after_horizon", "integer", "horizon after", "horizon with the change, measured", unit="steps",
          null=_BEYOND, shown=True, required=True),
    Field("before_horizon_censored", "boolean", "before, censored", "whether it lies beyond the last lag",
          null=_ALONE, required=True),
    Field("after_horizon_censored", "boolean", "after, censored", "whether it lies beyond the last lag", null=_ALONE,
          required=True),
    Field("before_rate", "number", "rate before", "rate without the change", unit="decades/step", null=_ALONE,
          required=True),
    Field("after_rate", "number", "rate after", "rate with the change, measured", unit="decades/step", null=_ALONE,
          required=True),
    Field("before_verdict", "text", "verdict before", "without the change", null=_ALONE, required=True,
          words=gradients_fields.VERDICTS),
    Field("after_verdict", "text", "verdict after", "with the change, measured", null=_ALONE, required=True,
          words=gradients_fields.VERDICTS),
    Field("before_horizon_h", "integer", "h before", "horizon of the h corner without the change", unit="steps",
          null=_BEYOND),
    Field("after_horizon_h", "integer", "h after", "horizon of the h corner with the change", unit="steps",
          null=_BEYOND),
    Field("before_horizon_h_censored", "boolean", "h before, censored", "whether it lies beyond the last lag",
          null=_ALONE),
    Field("after_horizon_h_censored", "boolean", "h after, censored", "whether it lies beyond the last lag",
          null=_ALONE),
    Field("helps", "boolean", "helps",
          "whether the h corner reaches the lag asked for and the network does not explode", null=_ALONE,
          better="true", shown=True, required=True),
    Field("value", "number", "value", "the number in the change, the truncation length, or where to clip",
          null="the change is a word, or could not be measured"),
    Field("snippet", "text", "snippet", "Python that applies it to a PyTorch module called model",
          null="there is none", required=True),
    Field("why", "text", "why", "what speaks for it", shown=True, required=True),
)  # fmt: skip
ADVISE_SUMMARY = (
    Field("reach", "count", "reach", "lag at which the norm should still be at least epsilon", unit="steps",
          shown=True, required=True),
    Field("reach_now", "integer", "reach now", "horizon of the h corner today", unit="steps",
          null="beyond the last lag", better="higher", shown=True, required=True),
    Field("reach_now_censored", "boolean", "reach now, censored", "whether it lies beyond the last lag"),
    Field("verdict", "text", "verdict", "of the network as it is", words=gradients_fields.VERDICTS),
    Field("explodes", "boolean", "explodes",
          "whether gradients explode, or grow by a decade and more over a run that allows no verdict: shrink them"),
    Field("need", "count", "need", "lag the task asks for", unit="steps", null="--need was not given"),
    Field("best", "text", "best", "kind of the smallest change that helps", null="none does", shown=True,
          required=True),
    Field("tbptt_length", "integer", "TBPTT length", "shortest truncation whose bias is small enough", unit="steps",
          null=_NO_LOSS),
    Field("tbptt_bias", "number", "TBPTT bias", "relative bias at that length", null=_NO_LOSS),
    Field("tbptt_kind", "text", "TBPTT kind", "how truncation was counted", null=_NO_LOSS, words=("last", "chunks")),
    Field("clip_value", "number", "clip at", "percentile of the norm of the mean gradient of a batch", null=_NO_LOSS),
    Field("clip_share", "number", "share clipped", "share of batches it would clip", null=_NO_LOSS),
    Field("clip_parameters", "texts", "of", "parameters the norm is taken over", null=_NO_LOSS),
    Field("gradient_norm_median", "number", "median norm", "median norm of the mean gradient of a batch",
          null=_NO_LOSS),
    *gradients_fields.TIME_CONSTANTS,
)  # fmt: skip

SERIES_ROWS = (
    Field("step", "number", "step", "of training", unit="steps", null="the name holds none", shown=True,
          required=True),
    Field("file", "text", "file", "the checkpoint", null="measured while training", shown=True),
    Field("layer", "integer", "layer", "0 is the bottom", null="the network as a whole"),
    Field("direction", "text", "direction", "forward or backward", null="one direction",
          words=("forward", "backward")),
    Field("error", "text", "error", "why the checkpoint could not be read", null="it could"),
    *(replace(field, null=field.null or "the checkpoint could not be read", required=False)
      for field in gradients_fields.SUMMARY),
    Field("spectral_radius", "number", "spectral radius", "largest |eigenvalue| over the recurrent blocks",
          null=NOT_COMPUTED, better="nearer to 1"),
    Field("gates", "facts", "gates", "mean opening of each gate over units, steps and batch, by name",
          null="the cell has none, or not computed here"),
    Field("map_lags", "numbers", "lags", "a few lags, evenly spread on a log scale", unit="steps",
          null="measured while training, or the checkpoint could not be read"),
    Field("map_log10_norm", "numbers", "norms", "norm of the Jacobian product at these lags", unit="log10",
          null="measured while training, or the checkpoint could not be read"),
    Field("log10_dloss_dh", "numbers", "dL/dh", "Frobenius norm of ∂L/∂h_t over the batch, t = 1 … T", unit="log10",
          null=NOT_COMPUTED),
    Field("log10_dloss_dc", "numbers", "dL/dc", "Frobenius norm of ∂L/∂c_t over the batch, t = 1 … T", unit="log10",
          null="there is no c"),
)  # fmt: skip


def _over_training(name: str, title: str, unit: str, better: str = "") -> tuple[Field, ...]:
    null = f"no checkpoint has a {name}"
    ends = ("first", "last", "min", "max")
    return (
        *(Field(f"{name}_{end}", "number", f"{title}, {end}", f"{end} over the checkpoints",
                unit=unit, null=null, better=better)
          for end in ends),
    Field(f"{name}_trend", "number", f"{title}, trend", "change per training step", unit=unit, null=TOO_SHORT,
          better=better),
        *(Field(f"{name}_trend_{end}", "number", f"trend, {end}", f"{end} end of its 95 % interval",
                unit=unit, null=TOO_SHORT, compared=False) for end in ("low", "high")),
    )  # fmt: skip


SERIES_SUMMARY = (
    *_over_training("horizon", "horizon", "steps", "higher"),
    *_over_training("rate", "rate", "decades/step"),
    Field("checkpoints", "count", "checkpoints", "how many there are"),
    Field("failed", "count", "failed", "how many could not be read", better="lower"),
)
