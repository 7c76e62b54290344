"""Encoder–decoders: built from keys, or put together from one file's modules."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.errors import InputError, ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.seq2seq import Seq2Seq
from gradscope.sources.drawing import draw_cell
from gradscope.sources.layer_weights import LayerWeights, WeightFile
from gradscope.sources.seeding import generator
from gradscope.sources.spec import SourceSpec


def draw_seq2seq(spec: SourceSpec, seed: int, dtype: Any) -> Seq2Seq:
    """Draw an encoder over ``inputs``, a decoder over one-hot symbols, and a head W ~ N(0, 1/H)."""
    H, V = spec["hidden"], spec["vocab"]
    cells = [
        draw_cell(spec, spec["cell"], width, generator(seed, "weights", 0, part), dtype)
        for part, width in (("encoder", spec["inputs"]), ("decoder", V))
    ]
    head = generator(seed, "readout").standard_normal((V, H)) / np.sqrt(H)
    return Seq2Seq(
        cells[0],
        cells[1],
        head.astype(dtype),
        np.zeros(V, dtype=dtype),
        feedback=spec["feedback"],
        max_steps=spec["max_steps"],
        temperature=spec["temperature"],
    )


def one_layer(spec: SourceSpec, layers: tuple[LayerWeights, ...], part: str) -> LayerWeights:
    """The single forward layer that an encoder or decoder must be.

    Raises
    ------
    UsageError
        Several layers, or a backward direction: named, since a bidirectional decoder cannot exist.
    """
    if {layer.direction for layer in layers} != {"forward"}:
        raise UsageError(
            f"{spec.name}: {part}= names a bidirectional module; a seq2seq {part} runs forward only.\n"
            f"Choose a one-directional module for {part}=."
        )
    if len(layers) != 1:
        raise UsageError(f"{spec.name}: {part}= names {len(layers)} layers; a seq2seq {part} has one layer here.")
    return layers[0]


def read_seq2seq(
    spec: SourceSpec, weights: WeightFile, encoder: Cell, decoder: Cell, dtype: Any
) -> tuple[Seq2Seq, tuple[str, ...]]:
    """Join an encoder's and a decoder's cells with the head and the embedding of the same file.

    Returns
    -------
    model, warnings

    Raises
    ------
    InputError
        A head that is not there, or several that match: the candidates are listed.
    """
    arrays = weights.other_arrays
    head_weight, head_bias, head_name = _find_head(spec, arrays, decoder.hidden_size)
    embedding, warnings = _find_embedding(spec, arrays, head_bias.shape[0], decoder.input_size)
    try:
        model = Seq2Seq(
            encoder,
            decoder,
            head_weight.astype(dtype),
            head_bias.astype(dtype),
            None if embedding is None else embedding.astype(dtype),
            feedback=spec["feedback"],
            start=spec["start"],
            end=spec["end"],
            max_steps=spec["max_steps"],
            temperature=spec["temperature"],
        )
    except ShapeError as problem:
        raise ShapeError(f"{spec.name}: {problem}") from None
    return model, (f"head read from {head_name}", *warnings)


def _stems(arrays: Mapping[str, Array], *, dims: int, endings: tuple[str, ...]) -> dict[str, str]:
    """Module name → array name for arrays of this many axes whose names end like weights or biases."""
    found = {}
    for name, array in arrays.items():
        for ending in endings:
            if array.ndim == dims and name.endswith(ending) and len(name) > len(ending):
                found[name.removesuffix(ending).rstrip("._")] = name
                break
    return found


def _match(stems: Mapping[str, str], glob: str) -> list[str]:
    return [stem for stem in stems if stem == glob] or [stem for stem in stems if fnmatch.fnmatchcase(stem, glob)]


def _listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:12]) or "nothing"


def _find_head(spec: SourceSpec, arrays: Mapping[str, Array], hidden: int) -> tuple[Array, Array, str]:
    weights = _stems(arrays, dims=2, endings=(".weight", "_weight", "_w", ".w"))
    matched = _match(weights, spec["head"] or "head")
    if len(matched) != 1:
        raise InputError(
            f"{spec.name}: head={spec['head'] or 'head'} matches {len(matched)} arrays `weight` (symbols, {hidden}); "
            f"found {_listed(arrays)}.\nName the head's module with head=NAME."
        )
    weight = _finite(spec, arrays, weights[matched[0]])
    biases = _stems(arrays, dims=1, endings=(".bias", "_bias", "_b", ".b"))
    bias = _finite(spec, arrays, biases[matched[0]]) if matched[0] in biases else np.zeros(weight.shape[0])
    return weight, bias, weights[matched[0]]


def _finite(spec: SourceSpec, arrays: Mapping[str, Array], name: str) -> Array:
    """A head's or embedding's numbers, refused where they are none."""
    values = np.asarray(arrays[name], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{spec.name}: '{name}' has a NaN or Inf: use an earlier checkpoint.")
    return values


def _find_embedding(
    spec: SourceSpec, arrays: Mapping[str, Array], symbols: int, width: int
) -> tuple[Array | None, tuple[str, ...]]:
    """The decoder's embedding, if the file has one; the decoder reads one-hot symbols otherwise."""
    tables = {name: name for name, array in arrays.items() if array.ndim == 2}
    tables |= _stems(arrays, dims=2, endings=(".weight", "_weight", "_w", ".w"))
    wanted = spec["embedding"] or "embedding"
    matched = _match(tables, wanted)
    if len(matched) > 1:
        raise InputError(
            f"{spec.name}: embedding={spec['embedding'] or 'embedding'} matches {', '.join(matched)}: name one."
        )
    if matched:
        return _finite(spec, arrays, tables[matched[0]]), ()
    if "embedding" in spec.given or width != symbols:
        raise InputError(
            f"{spec.name}: no embedding ({symbols}, {width}) named {wanted}; found {_listed(arrays)}.\n"
            "Name it with embedding=NAME."
        )
    return None, ("no embedding in the file: the decoder reads one-hot symbols (embedding= settles it)",)
