"""The recurrent layers a Keras configuration (JSON, versions 2 and 3) speaks of, and where their weights are kept."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from gradscope.sources.budget import MAX_NAME, Budget
from gradscope.sources.keras_graph import PASS_THROUGH, LayerCall, call_of, mask_after
from gradscope.sources.layer_weights import Direction

#: Keras classes of recurrent layers and cells → the cell they are.
CELL_OF_CLASS = {
    "SimpleRNN": "rnn",
    "GRU": "gru",
    "LSTM": "lstm",
    "CuDNNGRU": "gru",
    "CuDNNLSTM": "lstm",
    "SimpleRNNCell": "rnn",
    "GRUCell": "gru",
    "LSTMCell": "lstm",
}
_RECURRENT_WORDS = ("LSTM", "GRU", "RNN")
#: More recurrent layers, or longer names, than any model has: refused while they are read.
MAX_LAYERS = 1000
_MAX_DEPTH = 12


@dataclass(frozen=True)
class RecurrentConfig:
    """One direction of one recurrent layer of a configuration.

    Attributes
    ----------
    module : str
        The layer's name, nested models as ``outer/inner``; of a wrapper (Bidirectional) the wrapper's.
    names : tuple of str
        Layer names on the way, outermost first (Keras 2 keeps weights under them).
    storage : str
        The Keras 3 group that holds the cell's ``vars``: by class and order, never by name.
    direction : {'forward', 'backward'}
    config : dict
        The innermost layer's.
    wrapped : str or None
        Its name inside a wrapper (``forward_layer``, ``backward_layer``, ``layer``).
    layer : int
        0, or its place among the cells of StackedRNNCells, bottom first.
    merge_mode : str or None
        How a Bidirectional wrapper puts its directions together.
    remarks : tuple of str
        What else reaches the layer and does not come with its weights: a mask, a start state.
    """

    module: str
    names: tuple[str, ...]
    storage: str
    class_name: str
    direction: Direction
    config: dict[str, Any]
    wrapped: str | None = None
    layer: int = 0
    merge_mode: str | None = "concat"
    remarks: tuple[str, ...] = ()


@dataclass
class KerasConfig:
    """Every recurrent layer of a model, and which of them directly feed one another."""

    budget: Budget
    layers: list[RecurrentConfig] = field(default_factory=list)
    chains: list[tuple[str, ...]] = field(default_factory=list)


def parse_keras_config(text: bytes | str, budget: Budget) -> KerasConfig:
    """Read a model's configuration.

    Raises
    ------
    InputError
        If it is not JSON, or names or counts are more than any model's.
    """
    found = KerasConfig(budget)
    _model(budget.json(text, "its model configuration"), "layers", (), found, depth=0)
    return found


def snake_case(class_name: str) -> str:
    """Name a storage group as Keras 3 does: ``SimpleRNN`` → ``simple_rnn``.

    >>> snake_case("SimpleRNN"), snake_case("GRU"), snake_case("TimeDistributed")
    ('simple_rnn', 'gru', 'time_distributed')
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _layers_of(raw: Any) -> list[dict[str, Any]] | None:
    """The layer list of a model's entry, or None if it is no model."""
    config = _dict(raw).get("config")
    layers = config if isinstance(config, list) else _dict(config).get("layers")
    if not isinstance(layers, list):
        return None
    return [layer for layer in layers if isinstance(layer, dict)]


def _model(
    raw: Any, storage: str, names: tuple[str, ...], found: KerasConfig, *, depth: int, mask: str | None = None
) -> str | None:
    """Visit a model's layers in order, and return the mask of its last one.

    Keras 3 counts storage names per class within one container.
    """
    used: Counter[str] = Counter()
    sequential = _text(_dict(raw).get("class_name")) == "Sequential"
    calls: dict[str, LayerCall] = {}
    classes: dict[str, str] = {}
    masks: dict[str, str | None] = {}
    entries_of: dict[str, list[RecurrentConfig]] = {}
    previous: str | None = None
    for layer in _layers_of(raw) or []:
        class_name, config = _named(layer, "class_name", found), _dict(layer.get("config"))
        group = snake_case(class_name)
        name = _named(config, "name", found) or _named(layer, "name", found) or group
        used[group] += 1
        if used[group] > 1:
            group = f"{group}_{used[group] - 1}"
        path, here = f"{storage}/{group}", (*names, name)
        found.budget.name("/".join(here), "a layer's name")
        entries = [] if _layers_of(layer) is not None else _recurrent(class_name, config, path, here)
        call = call_of(layer, previous, sequential=sequential, recurrent=bool(entries))
        arriving = next((masks[below] for below in call.reads if masks.get(below)), None)
        if not call.reads:
            arriving = mask
        if _layers_of(layer) is not None:
            if depth < _MAX_DEPTH:
                masks[name] = _model(layer, f"{path}/layers", here, found, depth=depth + 1, mask=arriving)
        else:
            if call.mask_from is not None:
                arriving = f"'{call.mask_from}' (given as mask=)"
            masks[name] = mask_after(class_name, name, config, arriving, recurrent=bool(entries))
            remarks = _remarks("/".join(here), config, arriving, call) + _merged("/".join(here), entries)
            entries_of[name] = [replace(entry, remarks=remarks) for entry in entries]
            found.layers += entries_of[name]
            found.budget.count(len(found.layers), MAX_LAYERS, "recurrent layers")
        calls[name], classes[name], previous = call, class_name, name
    _chain(calls, classes, entries_of, found)
    return masks.get(previous) if previous is not None else mask


def _remarks(module: str, config: dict[str, Any], mask: str | None, call: LayerCall) -> tuple[str, ...]:
    """What a reader of gradients has to know of this layer beside its weights."""
    out: list[str] = []
    if mask is not None:
        out.append(
            f"{module}: a mask from {mask} reaches it; at such a step the trained model copies the state (its Jacobian "
            "is the identity), here every step is run: leave masked steps out of --inputs (of a batch padded at its "
            "end: --lengths), and lags count steps that are not masked"
        )
    if call.starts_from:
        out.append(
            f"{module}: the model starts it from what '{call.starts_from[0]}' gives; here it starts from zeros: "
            "--state FILE.npy starts it elsewhere"
        )
    inner = _dict(_dict(config.get("layer")).get("config")) or config
    if inner.get("stateful") is True:
        out.append(
            f"{module}: stateful, so the model goes on from the batch before; here it starts from zeros: --state "
            "FILE.npy starts it elsewhere"
        )
    return tuple(out)


def _merged(module: str, entries: list[RecurrentConfig]) -> tuple[str, ...]:
    """What a Bidirectional wrapper does with its two directions, unless it puts them side by side."""
    if not entries or entries[0].merge_mode == "concat":
        return ()
    mode = entries[0].merge_mode
    how = {"sum": "adds", "mul": "multiplies", "ave": "averages", None: "hands out one by one"}.get(mode, "merges")
    return (
        f"{module}: the model {how} what its two directions put out (merge_mode={mode or 'None'}); here each is "
        "measured by itself, and a head that reads them merged is not read: --readout takes one of [forward; backward]",
    )


def _chain(
    calls: dict[str, LayerCall],
    classes: dict[str, str],
    entries_of: dict[str, list[RecurrentConfig]],
    found: KerasConfig,
) -> None:
    """Find the recurrent layers of one model that feed the next with nothing in between, each used once."""
    below: dict[str, str] = {}
    for name, entries in entries_of.items():
        under = _feeding(name, calls, classes, entries_of) if entries else None
        if under is not None and _may_follow(entries_of[under], entries, classes[under], classes[name]):
            below[name] = under
    feeds = Counter(below.values())
    for top in entries_of:
        if top in below and feeds[top] != 1:
            chain = [top]
            while chain[-1] in below and feeds[below[chain[-1]]] == 1 and below[chain[-1]] not in chain:
                chain.append(below[chain[-1]])
            if len(chain) > 1:
                found.chains.append(tuple(entries_of[name][0].module for name in reversed(chain)))


def _feeding(
    name: str, calls: dict[str, LayerCall], classes: dict[str, str], entries_of: dict[str, list[RecurrentConfig]]
) -> str | None:
    """The recurrent layer whose sequence a layer reads unchanged, or None."""
    for _ in range(len(calls)):
        call = calls.get(name)
        if call is None or call.n_calls > 1 or len(call.reads) != 1:
            return None
        name = call.reads[0]
        if entries_of.get(name):
            lower = entries_of[name][0].config
            return name if lower.get("return_sequences") and calls[name].n_calls <= 1 else None
        if classes.get(name) not in (*PASS_THROUGH, "Masking"):
            return None
    return None


def _may_follow(
    below: list[RecurrentConfig], entries: list[RecurrentConfig], class_below: str, class_above: str
) -> bool:
    """Known cells that read forward, or both ways and put the directions side by side."""
    for part, class_name in ((below, class_below), (entries, class_above)):
        directions = [entry.direction for entry in part]
        if "backward" in directions and (class_name != "Bidirectional" or len(set(directions)) != 2):
            return False
        if class_name not in ("Bidirectional", *CELL_OF_CLASS, "RNN") or part[0].merge_mode != "concat":
            return False
    cells = {CELL_OF_CLASS.get(entry.class_name) for entry in (*below, *entries)}
    return None not in cells


def _recurrent(class_name: str, config: dict[str, Any], path: str, names: tuple[str, ...]) -> list[RecurrentConfig]:
    """The directions of one layer; empty if it is not recurrent."""
    module = "/".join(names)
    if class_name == "Bidirectional":
        forward = _dict(config.get("layer"))
        inside = _dict(forward.get("config"))
        backward = _dict(config.get("backward_layer")) or {
            **forward,
            "config": {**inside, "go_backwards": not inside.get("go_backwards", False)},
        }
        # A missing merge_mode is concat, null keeps the directions apart.
        merge = config.get("merge_mode", "concat")
        return [
            replace(entry, merge_mode=merge if isinstance(merge, str) else None)
            for side, layer in (("forward_layer", forward), ("backward_layer", backward))
            for entry in _wrapped(layer, f"{path}/{side}", module, names, side)
        ]
    if class_name == "TimeDistributed":
        return _wrapped(_dict(config.get("layer")), f"{path}/layer", module, names, "layer")
    if class_name == "StackedRNNCells" or any(word in class_name for word in _RECURRENT_WORDS):
        return _entries(class_name, config, path, module, names, None)
    return []


def _wrapped(layer: dict[str, Any], path: str, module: str, names: tuple[str, ...], side: str) -> list[RecurrentConfig]:
    class_name, config = _text(layer.get("class_name"))[:MAX_NAME], _dict(layer.get("config"))
    if not any(word in class_name for word in _RECURRENT_WORDS):
        return []
    return _entries(class_name, config, path, module, names, side)


def _entries(
    class_name: str, config: dict[str, Any], path: str, module: str, names: tuple[str, ...], side: str | None
) -> list[RecurrentConfig]:
    """One layer, or the layers that StackedRNNCells amounts to: each cell reads what the one below puts out."""
    direction: Direction = "backward" if config.get("go_backwards") is True else "forward"
    cell = _dict(config.get("cell"))
    kind, inner = _text(cell.get("class_name")), _dict(cell.get("config"))
    returns = {"return_sequences": config.get("return_sequences")}
    cells = inner.get("cells")
    if class_name == "RNN" and kind == "StackedRNNCells" and isinstance(cells, list) and cells:
        used: Counter[str] = Counter()
        out: list[RecurrentConfig] = []
        for layer, entry in enumerate(_dict(item) for item in cells[:MAX_LAYERS]):
            kind, inner = _text(entry.get("class_name"))[:MAX_NAME], _dict(entry.get("config"))
            group = snake_case(kind)
            used[group] += 1
            place = f"{path}/cell/cells/{group}" + (f"_{used[group] - 1}" if used[group] > 1 else "")
            settings = {**inner, **returns}
            out.append(RecurrentConfig(module, names, place, kind, direction, settings, side, layer))
        return out
    if class_name == "RNN" and kind:
        class_name, config = kind[:MAX_NAME], {**inner, **returns}
    return [RecurrentConfig(module, names, f"{path}/cell", class_name, direction, config, side)]


def _named(entry: dict[str, Any], key: str, found: KerasConfig) -> str:
    """A name of the configuration, its length checked."""
    name = _text(entry.get(key))
    found.budget.length(len(name), f"a layer's {key}")
    return name
