"""The file's own readout and embedding: found by shape among what stands outside the recurrent modules, never guessed.

A head is a weight (V, H_out) with its bias (V,) if there is one; an embedding is a weight (V, I) without a bias.
Between two weights that fit both descriptions, the one with a bias is the head.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.errors import InputError, did_you_mean
from gradscope.jacobians.step_jacobian import Array

#: Formats whose dense layers hold (inputs, outputs), the transpose of PyTorch's.
_INPUTS_FIRST = ("keras2", "keras3")
_WEIGHT_ENDINGS = ("weight", "kernel", "w", "W")


@dataclass(frozen=True)
class Table:
    """One matrix of the file that could be a readout or an embedding.

    Attributes
    ----------
    name : str
        Its module, or its own name where it has none.
    weight : ndarray, shape (V, width)
    bias : ndarray, shape (V,), or None
    """

    name: str
    weight: Array
    bias: Array | None

    @property
    def title(self) -> str:
        """For people: ``fc (10, 64)``."""
        return f"{self.name} ({self.weight.shape[0]}, {self.weight.shape[1]})"


@dataclass(frozen=True)
class FileHead:
    """What a file says about its readout.

    Attributes
    ----------
    candidates : tuple of Table
        Everything that fits the output's width: one is the head, several or none are said.
    followers : tuple of Table
        Weights that fit what the head puts out: then it may be the first layer of several.
    """

    head: Table | None
    embedding: Table | None
    candidates: tuple[Table, ...]
    followers: tuple[Table, ...] = ()


def find_head(
    arrays: Mapping[str, Array],
    *,
    output_width: int,
    input_width: int,
    container: str,
    head: str | None = None,
    embedding: str | None = None,
    file: str = "",
) -> FileHead:
    """Find the readout of width ``output_width`` and the embedding of width ``input_width``.

    Parameters
    ----------
    arrays : mapping
        The file's arrays outside the recurrent modules, by name.
    container : str
        The file's format: Keras keeps (inputs, outputs).
    head, embedding : str, optional
        A glob over module names that picks one; a tied embedding may be the head as well.

    Raises
    ------
    InputError
        If ``head`` or ``embedding`` matches nothing that fits, or several.
    """
    tables = [table for name in arrays for table in _tables(arrays, name, container)]
    reads_output = [table for table in tables if table.weight.shape[1] == output_width]
    holds_inputs = _embeddings(arrays, tables, input_width, container)
    found = _picked(holds_inputs, embedding, "embedding", input_width, file) if embedding else None
    if head is not None:  # whoever names it knows what follows
        return FileHead(
            _picked(reads_output, head, "head", output_width, file),
            found or _only(_without(holds_inputs, head)),
            tuple(reads_output),
        )
    if found is None:
        apart = [table for table in holds_inputs if table.name not in {t.name for t in reads_output}]
        with_bias = [table for table in reads_output if table.bias is not None]
        tied = [table for table in holds_inputs if table.name in {t.name for t in reads_output}]
        # A weight that fits both ways is the embedding where another one, with a bias, can be the head.
        found = _only(apart) or (_only(tied) if with_bias or len(reads_output) > 1 else _named_embedding(tied))
    candidates = tuple(table for table in reads_output if found is None or table.name != found.name)
    biased = [table for table in candidates if table.bias is not None]
    chosen = _only(candidates) or (_only(biased) if found is None and len(candidates) == 2 else None)
    return FileHead(chosen, found, candidates, _followers(tables, chosen, found))


def _followers(tables: Sequence[Table], head: Table | None, embedding: Table | None) -> tuple[Table, ...]:
    """What could read the head's output: a classifier of two layers is a weight (V, H) and one (C, V)."""
    if head is None:
        return ()
    apart = {head.name, *(() if embedding is None else (embedding.name,))}
    return tuple(table for table in tables if table.name not in apart and table.weight.shape[1] == len(head.weight))


def _named_embedding(tables: Sequence[Table]) -> Table | None:
    """The one that calls itself an embedding: by shape it could be the head as well."""
    return _only([table for table in tables if "emb" in table.name.lower() or "wte" in table.name.lower()])


def _only(tables: Sequence[Table]) -> Table | None:
    return tables[0] if len(tables) == 1 else None


def _without(tables: Sequence[Table], pattern: str) -> list[Table]:
    """Embeddings apart from the head; where there is no other, the head's own weight is tied."""
    apart = [table for table in tables if not _matches(table.name, pattern)]
    return apart or list(tables)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _picked(tables: Sequence[Table], pattern: str, key: str, width: int, file: str) -> Table:
    exact = [table for table in tables if table.name == pattern]
    found = exact or [table for table in tables if _matches(table.name, pattern)]
    if len(found) == 1:
        return found[0]
    names = [table.name for table in tables]
    listed = ", ".join(table.title for table in tables[:8]) or "nothing of that width"
    if not found:
        hint = did_you_mean(pattern, names)
        raise InputError(f"{file}: {key}={pattern} names no weight of width {width}.{hint}\nThe file has: {listed}.")
    raise InputError(f"{file}: {key}={pattern} fits {', '.join(t.title for t in found[:8])}: name one.")


def _tables(arrays: Mapping[str, Array], name: str, container: str) -> list[Table]:
    """The matrix ``name`` read as (V, width), with the bias beside it."""
    weight = arrays[name]
    if weight.ndim != 2 or weight.dtype.kind != "f" or 0 in weight.shape:
        return []
    module, bias = _bias_beside(arrays, name)
    values = weight.T if container in _INPUTS_FIRST else weight
    fits = bias is not None and bias.shape == (values.shape[0],)
    return [Table(module, np.asarray(values), bias if fits else None)]


def _embeddings(arrays: Mapping[str, Array], tables: Sequence[Table], width: int, container: str) -> list[Table]:
    """Weights (V, I) without a bias; Keras keeps embeddings as (V, I) too."""
    if container not in _INPUTS_FIRST:
        return [table for table in tables if table.weight.shape[1] == width and table.bias is None]
    out = []
    for name, values in arrays.items():
        module, bias = _bias_beside(arrays, name)
        if values.ndim == 2 and values.dtype.kind == "f" and values.shape[1] == width and bias is None:
            out.append(Table(module, values, None))
    return out


def _bias_beside(arrays: Mapping[str, Array], name: str) -> tuple[str, Array | None]:
    """The module's name, and its bias: the same name with ``bias`` in place of ``weight`` or ``kernel``."""
    for separator in (".", "/", "_"):
        module, found, last = name.rpartition(separator)
        last, colon, rest = last.partition(":")
        if found and last in _WEIGHT_ENDINGS:
            for ending in ("bias", "b"):
                bias = arrays.get(f"{module}{separator}{ending}{colon}{rest}")
                if bias is not None and bias.ndim == 1:
                    return module, bias
            return module, None
        if found and last == "0" and separator == "/":  # Keras 3: …/vars/0 and …/vars/1
            bias = arrays.get(f"{module}/1")
            return module.removesuffix("/vars"), bias if bias is not None and bias.ndim == 1 else None
    return ("" if name in _WEIGHT_ENDINGS else name), None
