"""Networks built here, from the keys of a SOURCE."""

from __future__ import annotations

from typing import Any

from gradscope.cells import CELLS
from gradscope.cells.cell import Cell
from gradscope.cells.rnn import Rnn
from gradscope.errors import UsageError
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.independent import Independent
from gradscope.sources.drawing import draw_cell
from gradscope.sources.ensembles import ENSEMBLES
from gradscope.sources.kinds import BidirectionalSource, IndependentSource, NetworkSource, source_of_seq2seq
from gradscope.sources.seeding import generator
from gradscope.sources.source import RecurrentBlock, Source, blocks_of, record_of, stack_of
from gradscope.sources.spec import SourceSpec


def built_source(spec: SourceSpec, seed: int, dtype: Any, memory: int) -> Source:
    """Draw what a CELL with keys names."""
    if spec.name == "seq2seq":
        from gradscope.sources.build_seq2seq import draw_seq2seq

        _check_size(spec, 2, CELLS[spec["cell"]], memory)
        return source_of_seq2seq(spec, draw_seq2seq(spec, seed, dtype), None)
    if spec.name == "dnn":
        _check_size(spec, 1, Rnn, memory)
        return _independent(spec, seed, dtype)
    _check_size(spec, 1, CELLS[spec.name], memory)
    n_layers, both = spec["layers"], spec["bidirectional"]
    pairs: list[tuple[Cell, ...]] = []
    width = spec["inputs"]
    for index in range(n_layers):
        names = ("forward", "backward") if both else ("forward",)
        pairs.append(
            tuple(draw_cell(spec, spec.name, width, generator(seed, "weights", index, name), dtype) for name in names)
        )
        width = spec["hidden"] * len(names)
    blocks: list[RecurrentBlock] = []
    for index, cells in enumerate(pairs):
        for cell, ending in zip(cells, ("", "_reverse"), strict=False):
            blocks += blocks_of(cell, f"weight_hh_l{index}{ending}")
    record = record_of(spec, spec.name, spec["hidden"], n_layers, pairs[0][0].state_size * n_layers, pairs)
    dropout = SeededDropout(spec["dropout"], seed) if spec["dropout"] else None
    shared: dict[str, Any] = {"blocks": tuple(blocks), "classes": spec["classes"], "warnings": _built_warnings(spec)}
    if both:
        directions = tuple((forward, backward) for forward, backward in pairs)
        return BidirectionalSource(spec, record, directions=directions, dropout=dropout, **shared)
    return NetworkSource(spec, record, network=stack_of(tuple(cells[0] for cells in pairs), dropout=dropout), **shared)


def _check_size(spec: SourceSpec, networks: int, cell: type[Cell], memory: int) -> None:
    H, layers = spec["hidden"], spec["layers"] if "layers" in spec.known_keys() else 1
    rows, columns = cell.recurrent_shape(H)
    n_bytes = 8 * networks * layers * (rows * columns + len(cell.gates) * H * spec["inputs"])
    if n_bytes > memory:
        raise UsageError(
            f"'{spec.text}' would hold {n_bytes / 2**30:.3g} GiB of weights; the limit is {memory / 2**30:.3g} GiB.\n"
            "Choose a smaller hidden or inputs, or raise --memory."
        )


def _independent(spec: SourceSpec, seed: int, dtype: Any) -> Source:
    """The control: W_t of step t from the same ensemble and gain, each step with a stream of its own."""
    cell = draw_cell(spec, "rnn", spec["inputs"], generator(seed, "weights", 0, "forward"), dtype)
    assert isinstance(cell, Rnn)
    ensemble, n, gain = ENSEMBLES[spec["init"]], spec["hidden"], spec["gain"]
    network = Independent.from_draws(cell, lambda t: ensemble(generator(seed, "weights", "step", t), n, gain))
    record = record_of(spec, "dnn", n, 1, n, ((network.cell,),))
    blocks = (RecurrentBlock("weight_hh_l0[step 1]", None, network.cell.weight_hh, None),)
    return IndependentSource(spec, record, network=network, blocks=blocks, classes=spec["classes"])


def _built_warnings(spec: SourceSpec) -> tuple[str, ...]:
    """Keys that are accepted and have no effect are said to have none."""
    out = []
    known = spec.known_keys()
    cell = CELLS[spec["cell"] if spec.name == "seq2seq" else spec.name]
    if "activation" in spec.given and not cell.uses_activation:
        out.append(f"{cell.name} is linear: activation has no effect")
    if "norm" in known and spec["norm"] == "layer" and (spec["bias"] or spec.given.get("forget_bias")):
        out.append(
            "norm=layer takes a bias that is equal across units away with the mean: bias and forget_bias have no effect"
        )
    if "dropout" in known and spec["dropout"] and spec["layers"] == 1:
        out.append("dropout acts between layers and there is one: say layers=2, or drop it")
    return tuple(out)
