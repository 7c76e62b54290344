"""``inspect``: what a source holds and where each fact comes from; nothing is computed."""

from __future__ import annotations

from typing import Any

from gradscope.analysis.inspect_inputs import inputs_sentence
from gradscope.errors import InputError, UsageError
from gradscope.records import Result
from gradscope.sources.build import build_source
from gradscope.sources.edits import Edits
from gradscope.sources.layer_weights import LayerWeights, WeightFile, module_title
from gradscope.sources.module_selection import select_layers
from gradscope.sources.source import Source, source_name
from gradscope.sources.spec import SourceSpec

COLUMNS = (
    "module",
    "cell",
    "layer",
    "direction",
    "input_size",
    "hidden_size",
    "proj_size",
    "gates",
    "biases",
    "activation",
    "gate_activation",
    "reset",
    "dtype",
    "parameters",
    "facts_from",
)


def inspect_source(spec: SourceSpec, *, seed: int = 0) -> Result:
    """List the recurrent layers of a source, one row each.

    Raises
    ------
    InputError
        The file cannot be read, or holds nothing recurrent.
    """
    if spec.kind == "cell":
        return _of_source(build_source(spec, seed=seed))
    if spec.is_one_array:
        sentence = inputs_sentence(spec.path) if spec.held is None else None
        if sentence is not None:
            return _of_inputs(spec, sentence)
        return _of_source(build_source(spec, seed=seed))
    from gradscope.sources.file_network import weights_of

    given: dict[str, Any] = {key: spec[key] for key in ("activation", "gate_activation", "reset", "ignore", "norm")}
    cell = spec["cell"]
    if cell in ("seq2seq", "dnn"):
        raise UsageError(f"inspect lists modules as they are: drop cell={cell}.")
    try:
        weights = weights_of(spec, cell=cell, **given)
    except InputError:
        sentence = inputs_sentence(spec.path) if spec.held is None and not spec.given else None
        if sentence is not None:
            return _of_inputs(spec, sentence)
        if spec.held is not None or spec.path.suffix.lower() != ".npz" or spec.given:
            raise
        # No layers: step Jacobians perhaps, which gradients and lyapunov read from a .npz too.
        return _of_source(build_source(spec, seed=seed))
    return _of_file(spec, weights)


def _of_inputs(spec: SourceSpec, sentence: str) -> Result:
    """What is no network: no rows, and a sentence that says what it is for."""
    record = {
        "name": source_name(spec), "cell": None, "hidden": None, "layers": 0, "state_size": None, "sha256": None,
        "format": "inputs",
    }  # fmt: skip
    summary = {"modules": [], "chains": [], "skipped": [], "recurrent_layers": 0}
    return Result(record, {}, {name: [] for name in COLUMNS}, summary, (sentence,))


def _of_file(spec: SourceSpec, weights: WeightFile) -> Result:
    rows = [_row(layer) for layer in weights.layers]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    modules = list(dict.fromkeys(layer.module for layer in weights.layers))
    warnings = list(dict.fromkeys(sentence for layer in weights.layers for sentence in layer.assumptions))
    warnings += [f"{module or '(top level)'}: {question}" for module, question in weights.questions.items()]
    first = weights.layers[0] if weights.layers else None
    edits = Edits.of(spec.given)
    if edits.record:
        warnings.insert(0, _edited(spec, weights, edits))
    record = {
        "name": source_name(spec),
        "cell": first.cell if first else None,
        "hidden": first.units if first else None,
        "layers": len(rows),
        "state_size": None,
        "sha256": edits.sha256(weights.sha256),
        "format": weights.format,
    }
    summary = {
        "modules": modules,
        "chains": [list(chain) for chain in weights.chains],
        "skipped": list(weights.skipped),
        "recurrent_layers": len(rows),
    }
    settings = {"edits": edits.record} if edits.record else {}
    return Result(record, settings, columns, summary, tuple(warnings))


def _edited(spec: SourceSpec, weights: WeightFile, edits: Edits) -> str:
    """What is edited where; with several modules to choose from, what would be."""
    try:
        layers = select_layers(weights, **{key: spec[key] for key in ("param", "layer", "direction", "stack")})
        title = module_title(layers[0].module)
    except InputError:
        layers, title = weights.layers, "the module that param= picks"
    cells = [layer.cell for layer in layers]
    edits.check(cells, file=spec.name)
    return f"{title}: {edits.words(cells)}"


def _row(layer: LayerWeights) -> dict[str, Any]:
    return {
        "module": layer.module,
        "cell": layer.cell,
        "layer": layer.layer,
        "direction": layer.direction,
        "input_size": layer.input_size,
        "hidden_size": layer.units,
        "proj_size": None if layer.weight_hr is None else layer.hidden_size,
        "gates": list(layer.gates_in_file),
        "biases": sum(bias is not None for bias in (layer.bias_ih, layer.bias_hh)),
        "activation": layer.activation,
        "gate_activation": layer.gate_activation if len(layer.gates_in_file) > 1 else None,
        "reset": layer.reset,
        "dtype": layer.dtype,
        "parameters": list(layer.parameters),
        "facts_from": dict(layer.facts_from),
    }


def _of_source(source: Source) -> Result:
    """Built networks and matrices: the same columns, the facts from the source's keys."""
    rows: list[dict[str, Any]] = []
    came_from = "key" if source.spec.kind == "cell" else "convention"
    for named in source.named_cells:
        cell = named.cell
        has_gates = len(cell.gates) > 1
        rows.append(
            {
                "module": named.module,
                "cell": cell.name,
                "layer": named.layer,
                "direction": named.direction,
                "input_size": cell.input_size,
                "hidden_size": cell.gate_size,
                "proj_size": cell.hidden_size if cell.hidden_size != cell.gate_size else None,
                "gates": list(cell.gates),
                "biases": 1,
                "activation": cell.activation.name,
                "gate_activation": cell.gate_activation.name if has_gates else None,
                "reset": getattr(cell, "reset", None),
                "dtype": str(cell.weight_hh.dtype),
                "parameters": [],
                "facts_from": {"cell": came_from, "activation": came_from},
            }
        )
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    summary: dict[str, Any] = {
        "modules": list(dict.fromkeys(row["module"] for row in rows)),
        "chains": [],
        "skipped": [],
    }
    summary["recurrent_layers"] = len(rows)
    summary |= source.described
    warnings = source.warnings
    if source.edits:
        warnings = (Edits.of(source.edits).words([row["cell"] for row in rows]), *warnings)
    return Result(source.record, source.settings, columns, summary, warnings)
