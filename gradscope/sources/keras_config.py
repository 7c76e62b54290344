"""The recurrent layers a Keras configuration (JSON, versions 2 and 3) speaks of, and where their weights are kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gradscope.errors import InputError
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
#: Layers that pass sequences on unchanged at inference: what stands between two layers of one stack.
_PASS_THROUGH = {"Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "ActivityRegularization"}
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
    class_name : str
    direction : {'forward', 'backward'}
    config : dict
        The innermost layer's.
    """

    module: str
    names: tuple[str, ...]
    storage: str
    class_name: str
    direction: Direction
    config: dict[str, Any]
    wrapped: str | None = None


@dataclass
class KerasConfig:
    """Every recurrent layer of a model, and which of them directly feed one another."""

    layers: list[RecurrentConfig] = field(default_factory=list)
    chains: list[tuple[str, ...]] = field(default_factory=list)


def parse_keras_config(text: str, *, file: str) -> KerasConfig:
    """Read a model's configuration.

    Raises
    ------
    InputError
        If it is not JSON.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: its model configuration is not JSON; the file is damaged") from error
    found = KerasConfig()
    _model(raw, "layers", (), found, depth=0)
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


def _model(raw: Any, storage: str, names: tuple[str, ...], found: KerasConfig, *, depth: int) -> None:
    """Visit a model's layers in order; Keras 3 counts storage names per class within one container."""
    used: Counter[str] = Counter()
    chain: list[str] = []
    sequential = _text(_dict(raw).get("class_name")) == "Sequential"
    for layer in _layers_of(raw) or []:
        class_name, config = _text(layer.get("class_name")), _dict(layer.get("config"))
        name = _text(config.get("name")) or _text(layer.get("name")) or snake_case(class_name)
        group = snake_case(class_name)
        used[group] += 1
        if used[group] > 1:
            group = f"{group}_{used[group] - 1}"
        path, here = f"{storage}/{group}", (*names, name)
        if _layers_of(layer) is not None and depth < _MAX_DEPTH:
            _close(chain, found)
            _model(layer, f"{path}/layers", here, found, depth=depth + 1)
            continue
        entries = _recurrent(class_name, config, path, here)
        found.layers += entries
        if not sequential or (not entries and class_name not in _PASS_THROUGH):
            _close(chain, found)
        elif entries:
            if chain and not _may_follow(found, chain[-1], entries):
                _close(chain, found)
            if _stackable(class_name, config, entries):
                chain.append(entries[0].module)
                if not entries[0].config.get("return_sequences"):
                    _close(chain, found)
            else:
                _close(chain, found)
    _close(chain, found)


def _close(chain: list[str], found: KerasConfig) -> None:
    if len(chain) > 1:
        found.chains.append(tuple(chain))
    chain.clear()


def _stackable(class_name: str, config: dict[str, Any], entries: list[RecurrentConfig]) -> bool:
    """A forward layer, or both directions put side by side: what a stack is made of."""
    if len(entries) == 2:
        return class_name == "Bidirectional" and config.get("merge_mode", "concat") == "concat"
    return entries[0].direction == "forward" and class_name in CELL_OF_CLASS


def _may_follow(found: KerasConfig, below: str, entries: list[RecurrentConfig]) -> bool:
    """One cell and one number of directions throughout a stack."""
    under = [layer for layer in found.layers if layer.module == below]
    return len(under) == len(entries) and CELL_OF_CLASS.get(under[0].class_name) == CELL_OF_CLASS.get(
        entries[0].class_name
    )


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
        return [
            entry
            for side, layer in (("forward_layer", forward), ("backward_layer", backward))
            for entry in _wrapped(layer, f"{path}/{side}", module, names, side)
        ]
    if class_name == "TimeDistributed":
        return _wrapped(_dict(config.get("layer")), f"{path}/layer", module, names, "layer")
    if class_name in ("RNN", "StackedRNNCells") or "LSTM" in class_name or "GRU" in class_name or "RNN" in class_name:
        return [_entry(class_name, config, path, module, names, None)]
    return []


def _wrapped(layer: dict[str, Any], path: str, module: str, names: tuple[str, ...], side: str) -> list[RecurrentConfig]:
    class_name, config = _text(layer.get("class_name")), _dict(layer.get("config"))
    if not any(word in class_name for word in ("LSTM", "GRU", "RNN")):
        return []
    return [_entry(class_name, config, path, module, names, side)]


def _entry(
    class_name: str, config: dict[str, Any], path: str, module: str, names: tuple[str, ...], side: str | None
) -> RecurrentConfig:
    backwards = config.get("go_backwards") is True
    cell = _dict(config.get("cell"))
    if class_name == "RNN" and _text(cell.get("class_name")) in CELL_OF_CLASS:
        class_name, inner = _text(cell.get("class_name")), _dict(cell.get("config"))
        config = {**inner, "return_sequences": config.get("return_sequences")}
    return RecurrentConfig(
        module, names, f"{path}/cell", class_name, "backward" if backwards else "forward", config, side
    )
