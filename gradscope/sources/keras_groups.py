"""Which datasets of a Keras file make up a recurrent cell: by storage group (Keras 3), or by weight name (Keras 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gradscope.errors import InputError
from gradscope.sources.hdf5 import Hdf5File
from gradscope.sources.keras_config import CELL_OF_CLASS, KerasConfig, RecurrentConfig
from gradscope.sources.keras_layers import KerasArrays, unknown_class
from gradscope.sources.keras_one import keras1_cells
from gradscope.sources.layer_weights import Direction, module_title
from gradscope.sources.stored_tensor import StoredTensor

#: Matching cells with their configuration is quadratic in their number.
MAX_CELLS = 1000
_ROLES = ("kernel", "recurrent_kernel", "bias")
_NAMED = re.compile(r"(?P<parent>.*/)?(?P<role>recurrent_kernel|kernel|bias)(_\d+)?(:\d+)?\Z")
_VARS = re.compile(r"(?P<parent>.+)/vars/(?P<index>\d{1,3})\Z")
#: tf.keras 2.12 called the container of layers this.
_OLD_CONTAINER = "_layer_checkpoint_dependencies"
#: Variables that a cell keeps and does not compute with at inference: dropout's random state, a stateful layer's state.
_IDLE = re.compile(r"(^|/)(seed_generator|random_generator|rnn_state|states?|Variable)(_\d+)?(:\d+)?(/|\Z)")


@dataclass(frozen=True)
class Missing:
    """A recurrent layer that the configuration speaks of and that cannot be read, with the reason."""

    module: str
    reason: InputError


def cells_by_storage(
    h5: Hdf5File, config: KerasConfig | None, version: tuple[int, ...], tensorflow: bool, *, file: str
) -> Iterator[KerasArrays | Missing]:
    """Cells of the Keras 3 layout: ``…/cell/vars/0, 1, 2`` are kernel, recurrent kernel, bias."""
    groups: dict[str, dict[int, StoredTensor]] = {}
    for name, tensor in h5.tensors.items():
        match = _VARS.match(name)
        if match:
            place = match["parent"].replace("\\", "/").replace(_OLD_CONTAINER, "layers")
            groups.setdefault(place, {})[int(match["index"])] = tensor
    if len(groups) > 20 * MAX_CELLS:
        raise InputError(f"{file}: has {len(groups)} groups of variables, more than any model; the file is hostile")
    cells: dict[str, RecurrentConfig | None] = {}
    for layer in config.layers if config else ():
        place = _place(layer, groups)
        if place is None:
            yield Missing(layer.module, _no_weights(layer, file))
        else:
            cells[place] = layer
    for place, group in groups.items():
        if place not in cells and place.endswith("cell") and {0, 1} <= set(group):
            cells[place] = None
    beside = _beside({place: _scope(place) for place in cells}, _outside_cells(groups, cells))
    for place, found in cells.items():
        tensors, extra = _roles(groups[place]), beside.get(place, ())
        if found is not None:
            yield _configured(found, tensors, version, tensorflow, extra)
            continue
        parts = [part for part in place.split("/") if part not in ("layers", "cell", "cells")]
        direction: Direction = "backward" if parts and parts[-1] == "backward_layer" else "forward"
        module = "/".join(part for part in parts if part not in ("forward_layer", "backward_layer", "layer"))
        yield KerasArrays(module, direction, tensors, None, {}, version, tensorflow, beside=extra)


def _configured(
    layer: RecurrentConfig,
    tensors: dict[str, StoredTensor],
    version: tuple[int, ...],
    tensorflow: bool,
    beside: tuple[str, ...],
) -> KerasArrays:
    return KerasArrays(
        layer.module,
        layer.direction,
        tensors,
        layer.class_name,
        layer.config,
        version,
        tensorflow,
        layer=layer.layer,
        remarks=layer.remarks,
        beside=beside,
    )


def _no_weights(layer: RecurrentConfig, file: str) -> InputError:
    where = f"{file}: module {module_title(layer.module)}: "
    if layer.class_name not in CELL_OF_CLASS:
        return unknown_class(layer.class_name, where)
    return InputError(
        f"{where}the configuration has this layer ({layer.class_name}), but there are no weights at "
        f"{layer.storage}/vars; save the built model again"
    )


def _outside_cells(
    groups: dict[str, dict[int, StoredTensor]], cells: Iterable[str]
) -> Iterator[tuple[str, StoredTensor]]:
    """Every variable that is no cell's kernel, recurrent kernel or bias, with the group it stands in."""
    known = set(cells)
    for place, group in groups.items():
        for index, tensor in group.items():
            if place not in known or index >= len(_ROLES):
                yield place, tensor


def _scope(place: str) -> str:
    """Where everything belongs to one recurrent cell: its group, or that of the cell which wraps it."""
    parts = place.split("/")
    while len(parts) > 1 and "cell" in parts[-1].lower() and "cell" in parts[-2].lower():
        parts.pop()
    return "/".join(parts)


def _beside(scopes: dict[str, str], others: Iterable[tuple[str, StoredTensor]]) -> dict[str, tuple[str, ...]]:
    """For each cell, the tensors that stand in its scope and are none of its own: they change what it computes."""
    in_scope: dict[str, list[str]] = {scope: [] for scope in scopes.values() if scope}
    for place, tensor in others:
        parts = place.split("/")
        owner = next((s for n in range(len(parts), 0, -1) if (s := "/".join(parts[:n])) in in_scope), None)
        if owner is not None and not _IDLE.search(tensor.name.removeprefix(owner)):
            in_scope[owner].append(tensor.name)
    return {place: tuple(in_scope[scope]) for place, scope in scopes.items() if in_scope.get(scope)}


def _place(layer: RecurrentConfig, groups: dict[str, dict[int, StoredTensor]]) -> str | None:
    """The storage group of a configured layer: by class and order as Keras writes it, else by the layer's own name."""
    named = "layers/" + "/layers/".join(layer.names)
    for place in (layer.storage, f"{named}/{layer.wrapped}/cell" if layer.wrapped else f"{named}/cell"):
        if {0, 1} <= set(groups.get(place, ())):
            return place
    return None


def _roles(group: dict[int, StoredTensor]) -> dict[str, StoredTensor]:
    return {role: group[index] for index, role in enumerate(_ROLES) if index in group}


def cells_by_name(
    h5: Hdf5File, config: KerasConfig | None, version: tuple[int, ...], tensorflow: bool, *, file: str
) -> Iterator[KerasArrays | Missing]:
    """Cells of the Keras 2 layout: datasets named ``kernel``, ``recurrent_kernel`` and ``bias`` in one group."""
    groups: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in h5.tensors.items():
        match = _NAMED.match(name)
        if match:
            groups.setdefault((match["parent"] or "").strip("/"), {})[match["role"]] = tensor
    cells = {
        place: {role: group[role] for role in _ROLES if role in group}
        for place, group in groups.items()
        if {"kernel", "recurrent_kernel"} <= set(group)
    }
    parts: dict[str, tuple[str, ...]] = {}
    if not cells:
        cells, parts = keras1_cells(h5.tensors)
        version = version or ((1,) if cells else ())  # nothing else was ever named so
    if len(cells) > MAX_CELLS:
        raise InputError(
            f"{file}: has {len(cells)} recurrent cells, and {MAX_CELLS} is the most that are read; split it"
        )
    taken = {tensor.name for group in cells.values() for tensor in group.values()}
    taken |= {name for names in parts.values() for name in names}
    others = ((name.rpartition("/")[0], tensor) for name, tensor in h5.tensors.items() if name not in taken)
    beside = _beside({place: _scope(place) for place in cells}, others)
    by_layer: dict[str, list[str]] = {}
    for place in cells:
        by_layer.setdefault(place.removeprefix("model_weights/").split("/")[0], []).append(place)
    by_name: dict[str, list[RecurrentConfig]] = {}
    for layer in config.layers if config else ():
        by_name.setdefault(layer.names[0], []).append(layer)
    for top, places in by_layer.items():
        for at, found in _pair(h5, top, places, by_name.get(top, [])):
            if at is not None and found is not None:
                arrays = _configured(found, cells[at], version, tensorflow, beside.get(at, ()))
                yield replace(arrays, parts=parts.get(at, ()))
            elif found is not None:
                yield Missing(found.module, _no_weights(found, file))
            elif at is not None:
                module, direction = _unconfigured(at, top, places)
                arrays = KerasArrays(module, direction, cells[at], None, {}, version, tensorflow)
                yield replace(arrays, parts=parts.get(at, ()), beside=beside.get(at, ()))
    for layer in config.layers if config else ():
        if layer.names[0] not in by_layer:
            yield Missing(layer.module, _no_weights(layer, file))


def _pair(
    h5: Hdf5File, top: str, places: list[str], configured: list[RecurrentConfig]
) -> Iterator[tuple[str | None, RecurrentConfig | None]]:
    """Match the cells under one layer's group with what the configuration says of that layer; None has no match."""
    order: dict[str, int] = {}
    for index, name in enumerate(h5.weight_names(f"model_weights/{top}") or h5.weight_names(top)):
        order.setdefault(name.rpartition("/")[0], index)

    def stored_order(place: str) -> int:
        return order.get(place.removeprefix("model_weights/").removeprefix(f"{top}/"), len(order))

    left = sorted(places, key=stored_order)
    for layer in configured:
        fitting = [place for place in left if _fits(place, layer)] or (left if len(configured) == len(places) else [])
        if fitting:
            left.remove(fitting[0])
        yield fitting[0] if fitting else None, layer
    for place in left:
        yield place, None


def _fits(place: str, layer: RecurrentConfig) -> bool:
    parts = place.split("/")
    if not all(name in parts for name in layer.names):
        return False
    if layer.wrapped in ("forward_layer", "backward_layer"):
        return any(part.startswith(layer.wrapped.removesuffix("layer")) for part in parts)
    return True


def _unconfigured(place: str, top: str, places: list[str]) -> tuple[str, Direction]:
    """Name and direction of a cell without a configuration: forward_ and backward_ are what Bidirectional writes."""
    if len(places) == 1:
        return top, "forward"
    parts = place.removeprefix("model_weights/").split("/")[1:]
    sides = {"forward": "backward", "backward": "forward"}
    for index, part in enumerate(parts):
        side = part.split("_")[0]
        if side in sides:
            twin = "/".join((*parts[:index], part.replace(side, sides[side], 1)))
            if any(twin in other for other in places):
                outer = [p for p in parts[:index] if p != top]
                return "/".join((top, *outer)), "backward" if side == "backward" else "forward"
    inner = [part for part in parts if part != top and not part.endswith("_cell")]
    return "/".join((top, *inner)), "forward"
