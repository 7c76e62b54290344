"""The columns of a series row, in order."""

from __future__ import annotations

from gradscope.fields import names

#: Summary fields of ``gradients`` that speak of states and so belong to a network over training time.
_OF_INPUTS = frozenset({
    "log10_total", "rank", "effective_rank", "influence_step", "log10_influence", "log10_influence_permuted",
    "log10_influence_rescaled",
})  # fmt: skip
_LAST = ("spectral_radius", "gates", "log10_dloss_dh", "log10_dloss_dc")
_ONLY_WHILE_TRAINING = ("log10_dloss_dh", "log10_dloss_dc")

COURSE = tuple(name for name in names("gradients", "summary") if name not in _OF_INPUTS)
#: Of a checkpoint, and of a watched step of training.
CHECKPOINT = ("step", "file", "error", *COURSE, *(name for name in _LAST if name not in _ONLY_WHILE_TRAINING))
WATCHED = ("step", "layer", "direction", "error", *COURSE, *_LAST)
