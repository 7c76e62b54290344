"""Which datasets of a Keras file make up a recurrent cell: by storage group (Keras 3), or by weight name (Keras 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradscope.errors import InputError
from gradscope.sources.hdf5 import Hdf5File
from gradscope.sources.keras_config import KerasConfig, RecurrentConfig
from gradscope.sources.keras_layers import KerasArrays
from gradscope.sources.layer_weights import Direction
from gradscope.sources.stored_tensor import StoredTensor

#: Matching cells with their configuration is quadratic in their number.
MAX_CELLS = 1000
_ROLES = ("kernel", "recurrent_kernel", "bias")
_NAMED = re.compile(r"(?P<parent>.*/)?(?P<role>recurrent_kernel|kernel|bias)(_\d+)?(:\d+)?\Z")
_VARS = re.compile(r"(?P<parent>.+)/vars/(?P<index>\d{1,3})\Z")
#: tf.keras 2.12 called the container of layers this.
_OLD_CONTAINER = "_layer_checkpoint_dependencies"


def cells_by_storage(
    h5: Hdf5File, config: KerasConfig | None, version: tuple[int, ...], tensorflow: bool, *, file: str
) -> Iterator[KerasArrays]:
    """Cells of the Keras 3 layout: ``…/cell/vars/0, 1, 2`` are kernel, recurrent kernel, bias.

    Raises
    ------
    InputError
        If the configuration speaks of a layer whose weights are not there.
    """
    groups: dict[str, dict[int, StoredTensor]] = {}
    for name, tensor in h5.tensors.items():
        match = _VARS.match(name)
        if match and not name.startswith("optimizer"):
            place = match["parent"].replace("\\", "/").replace(_OLD_CONTAINER, "layers")
            groups.setdefault(place, {})[int(match["index"])] = tensor
    if len(groups) > 20 * MAX_CELLS:
        raise InputError(f"{file}: has {len(groups)} groups of variables, more than any model; the file is hostile")
    claimed: set[str] = set()
    for layer in config.layers if config else ():
        place = _place(layer, groups)
        if place is None:
            raise InputError(
                f"{file}: the configuration has a recurrent layer '{layer.module}' ({layer.class_name}), but there "
                f"are no weights at {layer.storage}/vars; save the built model again"
            )
        claimed.add(place)
        yield KerasArrays(
            layer.module, layer.direction, _roles(groups[place]), layer.class_name, layer.config, version, tensorflow
        )
    for place, group in groups.items():
        if place in claimed or not place.endswith("cell") or not {0, 1} <= set(group):
            continue
        parts = [part for part in place.split("/") if part not in ("layers", "cell")]
        direction: Direction = "backward" if parts and parts[-1] == "backward_layer" else "forward"
        module = "/".join(part for part in parts if part not in ("forward_layer", "backward_layer", "layer"))
        yield KerasArrays(module, direction, _roles(group), None, {}, version, tensorflow)


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
) -> Iterator[KerasArrays]:
    """Cells of the Keras 2 layout: datasets named ``kernel``, ``recurrent_kernel`` and ``bias`` in one group."""
    groups: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in h5.tensors.items():
        match = _NAMED.match(name)
        if match and not name.startswith("optimizer"):
            groups.setdefault(match["parent"] or "", {})[match["role"]] = tensor
    cells = {
        place.strip("/"): {role: group[role] for role in _ROLES if role in group}
        for place, group in groups.items()
        if {"kernel", "recurrent_kernel"} <= set(group)
    }
    if len(cells) > MAX_CELLS:
        raise InputError(
            f"{file}: has {len(cells)} recurrent cells, and {MAX_CELLS} is the most that are read; split it"
        )
    by_layer: dict[str, list[str]] = {}
    for place in cells:
        by_layer.setdefault(place.removeprefix("model_weights/").split("/")[0], []).append(place)
    for top, places in by_layer.items():
        configured = [layer for layer in (config.layers if config else ()) if layer.names[0] == top]
        for place, layer in _pair(h5, top, places, configured):
            if layer is not None:
                yield KerasArrays(
                    layer.module, layer.direction, cells[place], layer.class_name, layer.config, version, tensorflow
                )
            else:
                module, direction = _unconfigured(place, top, places)
                yield KerasArrays(module, direction, cells[place], None, {}, version, tensorflow)


def _pair(
    h5: Hdf5File, top: str, places: list[str], configured: list[RecurrentConfig]
) -> Iterator[tuple[str, RecurrentConfig | None]]:
    """Match the cells under one layer's group with what the configuration says of that layer."""
    names = h5.weight_names(f"model_weights/{top}") or h5.weight_names(top)

    def stored_order(place: str) -> int:
        inner = place.removeprefix("model_weights/").removeprefix(f"{top}/")
        return next((i for i, name in enumerate(names) if name.startswith(f"{inner}/")), len(names))

    left = sorted(places, key=stored_order)
    for layer in configured:
        fitting = [place for place in left if _fits(place, layer)] or (left if len(configured) == len(places) else [])
        if fitting:
            left.remove(fitting[0])
            yield fitting[0], layer
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
