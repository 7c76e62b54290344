"""Keras files: HDF5 of versions 2 and 3, ``.weights.h5``, and the ``.keras`` zip with its configuration."""

from __future__ import annotations

import io
import re
from typing import IO

from gradscope.errors import InputError, UsageError
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.hdf5 import Hdf5File
from gradscope.sources.keras_config import KerasConfig, parse_keras_config
from gradscope.sources.keras_groups import Missing, cells_by_name, cells_by_storage
from gradscope.sources.keras_layers import KerasArrays, keras_layer
from gradscope.sources.layer_weights import LayerWeights, WeightFile, readout_widths
from gradscope.sources.stored_tensor import keep_beside
from gradscope.sources.zip_members import ZipMembers

_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})")


#: Recurrent modules that need an answer first, each with the error that selecting it raises.
Questions = dict[str, InputError | UsageError]


def keras_zip_stream(members: ZipMembers, *, file: str) -> tuple[IO[bytes], int, KerasConfig, str]:
    """Open the weights inside a ``.keras`` file: stream, size, configuration, version.

    Raises
    ------
    InputError
        If ``config.json`` or ``model.weights.h5`` is missing or damaged.
    """
    for member in ("config.json", "model.weights.h5"):
        if member not in members.names:
            raise InputError(
                f"{file}: should be a .keras file, but it has no {member} "
                f"(it has {', '.join(members.names[:4]) or 'nothing'}); save it with model.save('model.keras')"
            )
    config = parse_keras_config(members.read("config.json"), members.budget)
    version = "3"
    if "metadata.json" in members.names:
        metadata = members.budget.json(members.read("metadata.json"), "its metadata.json")
        if isinstance(metadata, dict) and isinstance(metadata.get("keras_version"), str):
            version = metadata["keras_version"]
    content = members.read("model.weights.h5")
    return io.BytesIO(content), len(content), config, version


def keras_weights(
    h5: Hdf5File, *, config: KerasConfig | None, version: str | None, file: str, keys: FileKeys
) -> WeightFile:
    """Read every recurrent layer of an open Keras file.

    Parameters
    ----------
    config : KerasConfig, optional
        From ``config.json``; a Keras 2 file may carry its own in the attribute ``model_config``.
    version : str, optional
        Keras's, if the caller knows it; else the attribute ``keras_version``.

    Raises
    ------
    InputError
        If the file holds no recurrent layer of Keras.
    """
    if config is None:
        text = h5.attribute("model_config")
        config = parse_keras_config(text, h5.budget) if isinstance(text, str) else None
    if version is None:
        stated = h5.attribute("keras_version")
        version = stated if isinstance(stated, str) else ""
    match = _VERSION.match(version)
    number = (int(match[1]), int(match[2])) if match else ((int(version),) if version.isdigit() else ())
    by_storage = any("/vars/" in f"/{name}" for name in h5.tensors)
    if by_storage and not number:
        number = (3,)  # the layout came with Keras 3
    find = cells_by_storage if by_storage else cells_by_name
    layers: list[LayerWeights] = []
    questions: Questions = {}
    used: set[str] = set()
    for arrays in find(h5, config, number, version.endswith("-tf"), file=file):
        if isinstance(arrays, Missing):
            questions.setdefault(arrays.module, arrays.reason)
            continue
        used.update(tensor.name for tensor in arrays.tensors.values())
        used.update(arrays.parts, arrays.beside)
        _read(arrays, layers, questions, file=file, keys=keys)
    layers = [layer for layer in layers if layer.module not in questions]
    layers.sort(key=lambda layer: (layer.module, layer.layer, layer.direction != "forward"))
    readable = {layer.module for layer in layers}
    chains = tuple(chain for chain in (config.chains if config else ()) if readable.issuperset(chain))
    rest = [tensor for name, tensor in h5.tensors.items() if name not in used]
    beside = keep_beside(rest, readout_widths(layers)) if layers or questions else {}
    skipped = (*(tensor.name for tensor in rest), *h5.passed_over)
    container = "keras3" if by_storage else "keras2"
    return WeightFile(file, container, "", tuple(layers), beside, skipped, questions, chains)


def _read(arrays: KerasArrays, layers: list[LayerWeights], questions: Questions, *, file: str, keys: FileKeys) -> None:
    """Read one direction, or keep the reason why it cannot be read for whoever selects it."""
    place = (arrays.module, arrays.layer, arrays.direction)
    if any((layer.module, layer.layer, layer.direction) == place for layer in layers):
        questions[arrays.module] = InputError(
            f"{file}: module {arrays.module}: both of its layers run {arrays.direction}, which cannot be represented; "
            "bring its step Jacobians as a 3-D .npy instead"
        )
        return
    try:
        layers.append(keras_layer(arrays, file=file, keys=keys))
    except (InputError, UsageError) as question:
        questions.setdefault(arrays.module, question)
