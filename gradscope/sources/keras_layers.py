"""From Keras's arrays to PyTorch's layout: kernels are (inputs, G·H), gates i,f,c,o and z,r,h.

Plain Keras computes x @ kernel + h @ recurrent_kernel + bias. The CuDNN layers of Keras 2 hand the memory of each
(I, H) kernel block to cuDNN, which reads it as an (H, I) matrix acting on columns; their recurrent blocks are such
matrices already, and they have two biases, input then recurrent. A flat bias of 8H (lstm) or 6H (gru) is the
only sign of that layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import commonpath
from typing import Any, Literal

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.file_keys import FileKeys, settle
from gradscope.sources.keras_config import CELL_OF_CLASS
from gradscope.sources.layer_weights import Direction, LayerWeights, module_title
from gradscope.sources.stored_tensor import StoredTensor, load_weights, shown

#: Keras's gate order, in its own letters.
KERAS_GATES = {"rnn": ("u",), "lstm": ("i", "f", "c", "o"), "gru": ("z", "r", "h")}
#: Keras's blocks in gradscope's order (lstm i,f,g,o; gru r,z,n).
_TAKE = {"rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}
_CELL_OF_BLOCKS = {1: "rnn", 3: "gru", 4: "lstm"}
_ACTIVATIONS = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu", "linear": "identity"}


@dataclass(frozen=True)
class KerasArrays:
    """The stored arrays of one direction of one layer, and what is known about it.

    Attributes
    ----------
    direction : {'forward', 'backward'}
    tensors : dict
        ``kernel``, ``recurrent_kernel`` and, unless the layer has none, ``bias``.
    class_name : str or None
        None if no configuration speaks of the layer.
    config : dict
        The layer's configuration, empty if there is none.
    version : tuple of int
        Keras's (major, minor), or an empty tuple if the file does not say.
    tensorflow : bool
        If it is tf.keras (``2.2.4-tf``), whose defaults changed at another time.
    layer : int
        Its place in its module: 0, or among the cells of StackedRNNCells.
    remarks : tuple of str
        What the configuration says beside the weights (a mask, a start state); they become warnings.
    parts : tuple of str
        Names of the stored arrays, where ``tensors`` are put together of several.
    beside : tuple of str
        Names of further tensors in the cell's own scope, which change what it computes.
    """

    module: str
    direction: Direction
    tensors: dict[str, StoredTensor]
    class_name: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    version: tuple[int, ...] = ()
    tensorflow: bool = False
    layer: int = 0
    remarks: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def keras_layer(arrays: KerasArrays, *, file: str, keys: FileKeys) -> LayerWeights:
    """Read one direction of one Keras layer.

    Raises
    ------
    InputError
        If the arrays are no recurrent layer's, or something has to be said by a key first.
    UsageError
        If a key means nothing for this cell.
    """
    where = f"{file}: module {module_title(arrays.module)}: "
    facts: dict[str, str] = {"gates": "file", "layout": "file"}
    assumed: list[str] = list(arrays.remarks)
    _check_beside(arrays, keys, where, assumed)
    if arrays.class_name is not None and arrays.class_name not in CELL_OF_CLASS:
        # Whoever names the cell and what to leave out has said what the class does not.
        if keys.cell is None or not arrays.beside:
            raise unknown_class(arrays.class_name, where)
        assumed.append(f"{arrays.module}: its class {arrays.class_name[:60]} read as {keys.cell}, as cell= says")
    n_blocks, hidden = _check_kernels(arrays, where)
    stated = CELL_OF_CLASS.get(arrays.class_name or "")
    if stated is None and n_blocks not in _CELL_OF_BLOCKS:
        raise InputError(f"{where}its recurrent_kernel has {n_blocks} gate blocks, and Keras's cells have 1, 3 or 4")
    cell, facts["cell"] = settle("cell", keys.cell, stated, _CELL_OF_BLOCKS.get(n_blocks, ""), where=where)
    if cell not in KERAS_GATES or len(KERAS_GATES[cell]) != n_blocks:
        raise InputError(f"{where}{cell} does not fit {n_blocks} gate blocks in Keras's layout (rnn 1, gru 3, lstm 4)")
    keys.check_applies(cell, where=where)
    if facts["cell"] == "file":
        facts["cell"] = "configuration"
    if facts["cell"] == "convention":
        assumed.append(f"{n_blocks} gate block{'s' * (n_blocks > 1)} read as Keras's {cell}: cell= settles it")
    bias = arrays.tensors.get("bias")
    cudnn = _is_cudnn(arrays, bias, cell, hidden, where)
    activation, gate_activation = _activations(arrays, cell, cudnn, keys, where, facts, assumed)
    reset = _reset(arrays, bias, cudnn, keys, where, facts, assumed) if cell == "gru" else None

    kernel = load_weights(arrays.tensors["kernel"], file=file)
    recurrent = load_weights(arrays.tensors["recurrent_kernel"], file=file)
    take = _TAKE[cell]
    bias_ih, bias_hh = _biases(None if bias is None else load_weights(bias, file=file), hidden, take)
    if cudnn:
        weight_ih = _stack([_block(kernel, gate, hidden).ravel().reshape(hidden, -1) for gate in take])
        weight_hh = _stack([_block(recurrent, gate, hidden) for gate in take])
    else:
        weight_ih = _stack([_block(kernel, gate, hidden).T for gate in take])
        weight_hh = _stack([_block(recurrent, gate, hidden).T for gate in take])
    return LayerWeights(
        module=arrays.module,
        cell=cell,
        layer=arrays.layer,
        direction=arrays.direction,
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        bias_ih=bias_ih,
        bias_hh=bias_hh,
        activation=activation,
        gate_activation=gate_activation,
        reset=reset,
        dtype=arrays.tensors["recurrent_kernel"].dtype,
        gates_in_file=KERAS_GATES[cell],
        parameters=arrays.parts or tuple(tensor.name for tensor in arrays.tensors.values()),
        facts_from=facts,
        assumptions=tuple(assumed),
    )


def unknown_class(class_name: str, where: str) -> InputError:
    """Say that a layer is of a class whose equations are not known here."""
    return InputError(
        f"{where}its class is {class_name}, and only {', '.join(list(CELL_OF_CLASS)[:5])} (and their cells) "
        "can be read; bring its step Jacobians as a 3-D .npy instead"
    )


def _check_beside(arrays: KerasArrays, keys: FileKeys, where: str, assumed: list[str]) -> None:
    """Refuse a cell whose own scope holds more than its kernels, unless ``ignore=`` names all of it."""
    left = [name for name in arrays.beside if not keys.ignores(name)]
    if left:
        scope = left[0] if len(left) == 1 else f"{commonpath(left)}/*".lstrip("/")
        known = arrays.class_name is None or arrays.class_name in CELL_OF_CLASS
        raise InputError(
            f"{where}'{left[0]}' {_and_others(len(left) - 1)}in its own scope, which no cell here has, so it computes "
            f"something else than its kernels alone ({_what(arrays)}); bring its step Jacobians as a 3-D .npy, or go "
            f"on without that with ignore={scope}{'' if known else ',cell=lstm (or what it is)'}"
        )
    if arrays.beside:
        assumed.append(
            f"{arrays.module}: '{arrays.beside[0]}' {_and_others(len(arrays.beside) - 1)}beside the cell and left out, "
            "as ignore= says: the numbers are of its kernels alone"
        )


def _what(arrays: KerasArrays) -> str:
    if arrays.class_name is None or arrays.class_name in CELL_OF_CLASS:
        return "a normalised or peephole cell?"
    return f"its class is {arrays.class_name[:80]}"


def _and_others(n: int) -> str:
    return f"and {n} more tensors stand " if n > 1 else "and 1 more tensor stand " if n else "stands "


def _block(matrix: Array, gate: int, hidden: int) -> Array:
    """Columns of one gate, as contiguous memory of their own."""
    return np.ascontiguousarray(matrix[:, gate * hidden : (gate + 1) * hidden])


def _stack(blocks: list[Array]) -> Array:
    return np.ascontiguousarray(np.concatenate(blocks))


def _check_kernels(arrays: KerasArrays, where: str) -> tuple[int, int]:
    """The number of gate blocks and the hidden size, from shapes that fit together."""
    kernel, recurrent = arrays.tensors["kernel"], arrays.tensors["recurrent_kernel"]
    for tensor in (kernel, recurrent):
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise InputError(
                f"{where}'{tensor.name}' should be a matrix (columns are gates·hidden), but its shape is "
                f"{shown(tensor.shape)}; only plain recurrent layers can be read"
            )
    hidden, columns = recurrent.shape
    if columns % hidden:
        raise InputError(
            f"{where}'{recurrent.name}' should be (H, G·H), but its shape is {shown(recurrent.shape)}; "
            "check which layer it is"
        )
    if kernel.shape[1] != columns:
        raise InputError(
            f"{where}'{kernel.name}' should have the {columns} columns of '{recurrent.name}', but its shape is "
            f"{shown(kernel.shape)}; the file is damaged"
        )
    units = arrays.config.get("units")
    if type(units) is int and units != hidden:
        raise InputError(f"{where}the configuration says {units} units, but '{recurrent.name}' has {hidden} rows")
    return columns // hidden, hidden


def _is_cudnn(arrays: KerasArrays, bias: StoredTensor | None, cell: str, hidden: int, where: str) -> bool:
    """Tell the CuDNN layout by the length of its bias, and check every other bias shape on the way."""
    n = len(KERAS_GATES[cell]) * hidden
    named = (arrays.class_name or "").startswith("CuDNN")
    shape = None if bias is None else bias.shape
    if cell in ("lstm", "gru") and shape == (2 * n,):
        return True
    if shape in (None, (n,)) or (cell == "gru" and shape == (2, n)):
        if not named:
            return False
        raise InputError(f"{where}{arrays.class_name} should have a bias of length {2 * n}; the file is damaged")
    cudnn = f" or CuDNN's ({2 * n},)"
    wanted = {"rnn": f"({n},)", "lstm": f"({n},){cudnn}", "gru": f"({n},), (2, {n}){cudnn}"}
    raise InputError(f"{where}its bias should have shape {wanted[cell]}, but it has {shown(shape)}")


def _biases(bias: Array | None, hidden: int, take: tuple[int, ...]) -> tuple[Array | None, Array | None]:
    """(bias_ih, bias_hh) in gradscope's gate order; one stored bias acts as bias_ih."""
    if bias is None:
        return None, None
    n = len(take) * hidden
    rows = [row.reshape(-1, hidden)[list(take)].ravel() for row in bias.reshape(-1, n)]
    return (rows[0], rows[1]) if len(rows) == 2 else (rows[0], None)


def _reset(
    arrays: KerasArrays,
    bias: StoredTensor | None,
    cudnn: bool,
    keys: FileKeys,
    where: str,
    facts: dict[str, str],
    assumed: list[str],
) -> Literal["after", "before"]:
    """Where the reset gate acts: the shape of the bias tells, then the configuration, then the version's default."""
    said = arrays.config.get("reset_after")
    by_config = None if not isinstance(said, bool) else ("after" if said else "before")
    by_bias = None if bias is None else ("after" if cudnn or len(bias.shape) == 2 else "before")
    if by_bias and by_config and by_bias != by_config and not cudnn:
        raise InputError(
            f"{where}reset_after={said} in the configuration, but the bias has the shape of reset "
            f"{by_bias}; the file contradicts itself"
        )
    convention = None
    if by_bias is None and by_config is None:
        if arrays.class_name is not None and arrays.version[:1] in ((1,), (2,)) and not arrays.tensorflow:
            convention = "before"  # Keras before 2.1.6 knew nothing else and does not write it
        elif arrays.version[:1] == (3,):
            convention = "after"
        elif keys.reset is None:
            raise InputError(f"{where}nothing says where the gru's reset gate acts; say reset=after or reset=before")
    reset, facts["reset"] = settle("reset", keys.reset, by_bias or by_config, convention or "", where=where)
    if by_bias is None and by_config and facts["reset"] == "file":
        facts["reset"] = "configuration"
    if facts["reset"] == "convention":
        assumed.append(
            f"gru reset gate assumed to act {reset} the matrix product (the version's default): reset= settles it"
        )
    return "before" if reset == "before" else "after"


def _activations(
    arrays: KerasArrays, cell: str, cudnn: bool, keys: FileKeys, where: str, facts: dict[str, str], assumed: list[str]
) -> tuple[str, str]:
    """(candidate activation, gate activation): what the layout proves, the configuration, the keys, the defaults.

    cuDNN has tanh and the logistic sigmoid and nothing else, so its layout proves both whatever the version.
    """
    stated = _named(arrays.config.get("activation"))
    if stated is not None and stated not in _ACTIVATIONS:
        raise InputError(
            f"{where}its activation is '{stated}', and only {', '.join(_ACTIVATIONS)} can be represented; "
            "bring its step Jacobians as a 3-D .npy instead"
        )
    if cudnn:
        activation, facts["activation"] = settle("activation", keys.activation, "tanh", "", where=where)
        gates, facts["gate_activation"] = settle("gate_activation", keys.gate_activation, "sigmoid", "", where=where)
        for key, wanted in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
            if _named(arrays.config.get(key)) not in (None, wanted):
                raise InputError(
                    f"{where}the configuration says {key}={_named(arrays.config.get(key))}, but its bias has the "
                    f"shape of a CuDNN layer, which only has {wanted}; the file contradicts itself"
                )
        return activation, gates
    known = None if stated is None else _ACTIVATIONS[stated]
    activation, origin = settle("activation", keys.activation, known, "tanh", where=where)
    facts["activation"] = "configuration" if origin == "file" else origin
    if origin == "convention":
        assumed.append("activation assumed to be tanh (Keras's default): activation= settles it")
    if cell == "rnn":
        return activation, "sigmoid"
    gate = _named(arrays.config.get("recurrent_activation", arrays.config.get("inner_activation")))  # Keras 1's word
    if gate not in (None, "sigmoid", "hard_sigmoid"):
        raise InputError(
            f"{where}its recurrent_activation is '{gate}', and only sigmoid and hard_sigmoid can be represented; "
            "bring its step Jacobians as a 3-D .npy instead"
        )
    if gate == "hard_sigmoid" and arrays.version[:1] == (3,):
        gate = "hard_sigmoid_keras3"
    convention = ""
    if gate is None and keys.gate_activation is None:
        convention = _default_gate(arrays, where)
    value, origin = settle("gate_activation", keys.gate_activation, gate, convention, where=where)
    facts["gate_activation"] = "configuration" if origin == "file" else origin
    if origin == "convention":
        assumed.append(
            f"gate activation assumed to be {value}, the default of "
            f"{'Keras ' + '.'.join(map(str, arrays.version)) if arrays.version else 'Keras since 2.3'}: "
            f"gate_activation={'sigmoid' if value != 'sigmoid' else 'hard_sigmoid'} says otherwise"
        )
    return activation, value


def _default_gate(arrays: KerasArrays, where: str) -> str:
    """Keras's default gate activation: hard_sigmoid before 2.3, sigmoid since; tf.keras 2.1 and 2.2.4 had both."""
    if arrays.version and arrays.version < (2, 3):
        if arrays.tensorflow:
            raise InputError(
                f"{where}nothing says what its gates apply, and tf.keras {'.'.join(map(str, arrays.version))} had both "
                "defaults; say gate_activation=sigmoid or gate_activation=hard_sigmoid"
            )
        return "hard_sigmoid"
    return "sigmoid"


def _named(value: Any) -> str | None:
    """An activation's name, written as a string or as a serialised function."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("class_name")
    return value if isinstance(value, str) else None
