"""How long truncated backpropagation through time has to be at a watched step, for the loss that is being trained."""

from __future__ import annotations

from math import ceil, log2
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.torch.adjoint import Graded
from gradscope.torch.layer_steps import VisitedLayer

#: Sequences of the batch, from its first, whose summed gradient is truncated.
SAMPLES = 4
#: Numbers that all lengths together may take; with longer sequences fewer of them are looked at, one at least.
MOST_NUMBERS = 2**25
#: Below this power of two, relative to the largest, nothing is left of a sum of gradients.
LOWEST = -1000


def truncation(layer: VisitedLayer, output: Graded, bias: float) -> dict[str, Any]:
    """``tbptt_length``: a smallest K whose bias is at most ``bias`` (its own in ``tbptt_bias``), by ``chunks``.

    The state is detached every K steps counted from each sequence's end; what other layers hand down is left whole. K
    comes from a grid of one length an octave, refined once.
    """
    T = len(output.values)
    nothing = {"tbptt_length": None, "tbptt_bias": None, "tbptt_kind": None}
    if not T or not output.values.any():
        return nothing
    grid = sorted({min(T, 2**i) for i in range(ceil(log2(max(T, 2))) + 1)} | {T})
    biases = chunk_biases(layer, output, grid)
    if not np.isfinite(biases).all():
        return nothing
    at = int(np.argmax(biases <= bias))
    between = list(range(grid[at - 1] + 1, grid[at])) if at else []
    if between:
        between = sorted({between[round(i)] for i in np.linspace(0, len(between) - 1, min(len(between), 8))})
        grid = [*between, grid[at]]
        biases = np.append(chunk_biases(layer, output, between), biases[at])
        at = int(np.argmax(biases <= bias))
    return {"tbptt_length": int(grid[at]), "tbptt_bias": float(biases[at]), "tbptt_kind": "chunks"}


def chunk_biases(layer: VisitedLayer, output: Graded, lengths: list[int]) -> Array:
    """‖G_K − G‖_F / ‖G‖_F of ∂L/∂W_hh for each chunk length; NaN where the whole gradient is zero or not finite."""
    samples = slice(0, max(1, min(SAMPLES, MOST_NUMBERS // max(1, layer.values_per_sample * (len(lengths) + 1)))))
    layer = layer.of_samples(samples)
    top = int(output.exponents[:, samples].max(initial=-(2**30)))
    shift = np.clip(output.exponents[:, samples] - top, LOWEST, 0).astype(np.int32)
    direct = np.ldexp(output.values[:, samples], shift[..., None])
    T, batch, P = direct.shape
    every = [*lengths, T + 1]  # the last one is never detached
    lengths_each, ends = np.array(every)[:, None], T - 1 - np.argmax(layer.live[::-1], axis=0)
    g_h, g_c = np.zeros((len(every), batch, P)), np.zeros((len(every), batch, layer.c.shape[-1]))
    a = np.zeros((T, len(every), batch, len(layer.weights.W_hh)))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T - 1, -1, -1):
            passed = ends - t
            cut = ((passed > 0) & (passed % lengths_each == 0))[..., None]
            g_h, g_c = np.where(cut, 0.0, g_h), np.where(cut, 0.0, g_c)
            g_h = g_h + direct[t]
            back, live = layer.back(t, g_h, g_c), layer.live[t][:, None]
            a[t] = np.where(live, back.a_hh, 0.0)
            g_h, g_c = np.where(live, back.h_prev, g_h), np.where(live, back.c_prev, g_c)
        h_prev = layer.h[:-1].reshape(T * batch, P)
        whole = a[:, -1].reshape(T * batch, -1).T @ h_prev
        size = float(np.linalg.norm(whole))
        if not 0 < size < np.inf:
            return np.full(len(lengths), np.nan)
        left_out = (a[:, i] - a[:, -1] for i in range(len(lengths)))
        return np.array([np.linalg.norm(part.reshape(T * batch, -1).T @ h_prev) / size for part in left_out])
