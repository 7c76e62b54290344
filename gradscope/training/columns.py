"""The columns of a series row, in order."""

from __future__ import annotations

from gradscope.fields import names

#: Summary fields of ``gradients`` that speak of inputs, and not of a network over training time.
_OF_INPUTS = frozenset({
    "log10_total", "rank", "effective_rank", "influence_step", "log10_influence", "log10_influence_permuted",
    "log10_influence_rescaled",
})  # fmt: skip

#: What a network's course is summed up in.
COURSE = tuple(name for name in names("gradients", "summary") if name not in _OF_INPUTS)
#: What is measured of a checkpoint.
MEASURED = (*COURSE, "spectral_radius", "gates", "map_lags", "map_log10_norm")
#: What a checkpoint also says of itself; one line of the report's, not of its rows.
ABOUT = ("warnings", "settings", "cell", "hidden", "layers", "state_size")
#: Of a checkpoint, and of a watched step of training.
CHECKPOINT = ("step", "file", "layer", "direction", "error", *MEASURED)
WATCHED = (
    "step", "layer", "direction", "error", *COURSE, "spectral_radius", "gates", "log10_dloss_dh", "log10_dloss_dc",
)  # fmt: skip
