"""Fields of the verbs with few of them: ``inspect``, ``claims``, ``diff``, and what sweeps add."""

from __future__ import annotations

from gradscope.fields.field import NOT_COMPUTED, Field

_UNKNOWN = "the file cannot tell"

INSPECT_ROWS = (
    Field("module", "text", "module", "name of the recurrent module", null="no name", shown=True, required=True),
    Field("cell", "text", "cell", "kind of recurrence", null=_UNKNOWN, shown=True, required=True),
    Field("layer", "integer", "layer", "0 is the bottom", null=_UNKNOWN, shown=True, required=True),
    Field("direction", "text", "direction", "forward or backward", null=_UNKNOWN, shown=True, required=True,
          words=("forward", "backward")),
    Field("input_size", "count", "input", "inputs", null=_UNKNOWN, shown=True, required=True),
    Field("hidden_size", "count", "hidden", "units", null=_UNKNOWN, shown=True, required=True),
    Field("proj_size", "count", "projection", "width of h where an lstm projects it", null="no projection"),
    Field("gates", "texts", "gates", "in the file's order", null=_UNKNOWN, shown=True, required=True),
    Field("biases", "count", "biases", "how many bias vectors", null=_UNKNOWN, shown=True, required=True),
    Field("activation", "text", "activation", "of the candidate", null=_UNKNOWN, shown=True, required=True),
    Field("gate_activation", "text", "gate activation", "of the gates", null=_UNKNOWN, shown=True, required=True),
    Field("reset", "text", "reset", "gru: reset gate after or before the product", null="no gru", shown=True,
          required=True),
    Field("dtype", "text", "dtype", "of the weights", null=_UNKNOWN, shown=True, required=True),
    Field("parameters", "texts", "parameters", "names of the tensors", null=_UNKNOWN, shown=True, required=True),
    Field("facts_from", "facts", "facts from", "where each fact was found", null=_UNKNOWN, shown=True, required=True),
)  # fmt: skip
INSPECT_SUMMARY = (
    Field("modules", "texts", "modules", "names of the recurrent modules", null=_UNKNOWN),
    Field("chains", "anything", "chains", "modules that feed one another", null="none"),
    Field("skipped", "texts", "skipped", "arrays that belong to no recurrence", null="none"),
    Field("recurrent_layers", "count", "layers", "recurrent layers found", null=_UNKNOWN),
    Field("jacobians", "numbers", "jacobians", "shape of ready Jacobians", null="there are none"),
)  # fmt: skip

CLAIMS_ROWS = (
    Field("id", "text", "id", "C01 to C25", shown=True, required=True),
    Field("claim", "text", "claim", "what the article says", shown=True, required=True),
    Field("verdict", "text", "verdict", "whether it holds", shown=True, required=True,
          words=("true", "conditional", "false")),
    Field("method", "text", "experiment", "the experiment in a line", shown=True, compared=False),
    Field("seen", "text", "seen", "what was seen, in sentences", shown=True, compared=False),
    Field("in_fact", "text", "in fact", "what is true instead, or under which conditions", shown=True, compared=False),
    Field("measured", "anything", "measured", "the numbers that were seen", null=NOT_COMPUTED, shown=True,
          required=True),
    Field("expected", "anything", "expected", "what the right statement predicts", null=NOT_COMPUTED, shown=True,
          required=True),
    Field("agrees", "boolean", "agrees", "whether measurement and right statement agree", better="true", shown=True,
          required=True),
    Field("seconds", "number", "seconds", "time it took", unit="s", null="not timed", shown=True, required=True,
          compared=False),
)  # fmt: skip
CLAIMS_SUMMARY = (
    Field("claims", "count", "claims", "claims measured"),
    Field("checks", "count", "checks", "measurements compared with a prediction"),
    Field("agree", "count", "agree", "claims whose measurement agrees with the right statement"),
    Field("disagree", "count", "disagree", "claims whose measurement does not"),
    Field("true", "count", "true", "claims that hold as stated"),
    Field("conditional", "count", "conditional", "claims that hold under conditions"),
    Field("false", "count", "false", "claims that do not hold"),
)  # fmt: skip

_SIDE = "missing on this side"
DIFF_ROWS = (
    Field("where", "text", "where", "summary, or the keys of the row", shown=True, required=True),
    Field("field", "text", "field", "name of the field", shown=True, required=True),
    Field("base", "anything", "base", "value in BASE", null=_SIDE, shown=True, required=True),
    Field("new", "anything", "new", "value in NEW", null=_SIDE, shown=True, required=True),
    Field("change", "number", "change", "new − base; 0 where nothing changed", null="a side is no number",
          shown=True, required=True),
    Field("change_percent", "number", "change", "of the size of base", unit="%",
          null="a side is no number, or base is 0", shown=True,
          required=True),
    Field("noise", "number", "noise", "95 % of the difference between two measurements of one thing",
          null="a side is no number", shown=True, required=True),
    Field("size", "number", "size", "decades for a logarithm, else the change relative to the larger side",
          null="a side is no number", required=True),
    Field("verdict", "text", "verdict", "which way it changed", shown=True, required=True,
          words=("worse", "better", "changed", "same")),
)  # fmt: skip
DIFF_SUMMARY = (
    Field("verdict", "text", "verdict", "of the source, by verdict class, horizon and rate interval alone",
          null="on one side only", shown=True, words=("worse", "same", "better")),
    Field("worse", "count", "worse", "fields that got worse", shown=True, required=True),
    Field("better", "count", "better", "fields that got better", shown=True, required=True),
    Field("changed", "count", "changed", "fields that changed without a worse direction", shown=True, required=True),
    Field("same", "count", "same", "fields that agree within noise", shown=True, required=True),
    Field("only_base", "count", "only in BASE", "rows", shown=True, required=True),
    Field("only_new", "count", "only in NEW", "rows", shown=True, required=True),
    Field("largest_worse", "number", "largest", "size of the largest change for the worse", shown=True,
          required=True),
)  # fmt: skip

SWEEP_EXTRA = (
    Field("status", "text", "status", "ok, or how the point failed", null=NOT_COMPUTED),
    Field("error", "text", "error", "why the point failed", null="it did not"),
)  # fmt: skip
SWEEP_SUMMARY = (
    Field("points", "count", "points", "points of the grid"),
    Field("failed", "count", "failed", "points that failed", better="lower"),
)  # fmt: skip
