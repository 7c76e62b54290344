"""From a flat list of tensors under PyTorch's names to recurrent layers.

The names are read by :mod:`gradscope.sources.parameter_names`; the prefix without its trailing separator is the
module: ``rnn.weight_ih_l0`` belongs to ``rnn``, ``enc_w_ih`` to ``enc``, and ``weight_ih_l0`` to the module whose name
is the empty string, shown to people as ``(top level)``.

Names do not say which cell it is, so the number of gate blocks does: G = rows of ``weight_hh`` / H = 1, 3, 4 mean
rnn, gru, lstm (PyTorch's order, which PyTorch's own names prove) unless ``cell=`` says otherwise. What else stands in
a module's scope changes what it computes, so it makes the module a question (:mod:`gradscope.sources.beside_the_cell`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gradscope.cells import ALL_CELLS
from gradscope.errors import InputError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.beside_the_cell import check_beside
from gradscope.sources.budget import OverBudgetError
from gradscope.sources.echo_state import echo_states
from gradscope.sources.file_keys import FileKeys, settle
from gradscope.sources.layer_weights import GATE_ORDER, Direction, LayerWeights, RecurrentModules, module_title
from gradscope.sources.parameter_names import ParameterName, parse_name, parse_single_bias, resolve
from gradscope.sources.stored_tensor import StoredTensor, load_weights, shown

#: Wrappers that put a prefix before every name (nn.DataParallel, torch.compile).
_WRAPPERS = ("module.", "_orig_mod.")
_CELL_OF_BLOCKS = {1: "rnn", 3: "gru", 4: "lstm"}


@dataclass
class _Slot:
    """The tensors of one layer and direction, by role (``weight_ih``, …), as stored and as they run."""

    forms: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    is_pytorch: bool = True

    def resolve(self, *, file: str, where: str) -> None:
        """Settle what runs where a weight is reparametrised."""
        for role, forms in self.forms.items():
            self.tensors[role], note = resolve(forms, file=file, where=where)
            if note:
                self.notes[f"'{self.tensors[role].name}' is {note}"] = None


def strip_wrappers(names: list[str]) -> dict[str, str]:
    """Map each name to itself without ``module.`` (nn.DataParallel) or ``_orig_mod.`` if every name carries it.

    >>> strip_wrappers(["module.rnn.weight_hh_l0", "module.fc.bias"])
    {'module.rnn.weight_hh_l0': 'rnn.weight_hh_l0', 'module.fc.bias': 'fc.bias'}
    """
    stripped = {name: name for name in names}
    while stripped:
        for wrapper in _WRAPPERS:
            if all(name.startswith(wrapper) for name in stripped.values()):
                stripped = {original: name.removeprefix(wrapper) for original, name in stripped.items()}
                break
        else:
            break
    return stripped


def group_recurrent(
    tensors: Mapping[str, StoredTensor],
    *,
    file: str,
    keys: FileKeys,
    by_torch: bool = False,
    activations: Mapping[str, str] = MappingProxyType({}),
) -> RecurrentModules:
    """Find every recurrent layer among the tensors and read it.

    Parameters
    ----------
    tensors : mapping
        By their names in the file.
    file : str
        For messages.
    by_torch : bool
        Whether the container is one of PyTorch's: then ``weight_ih`` without a number is ``nn.LSTMCell``'s.
    activations : mapping of str to str
        What a module itself says of its activation (a live ``nn.RNN`` knows its own, no state dict does).

    Modules that cannot be read, for whatever reason, are questions: they leave the others reachable.
    """
    modules, questions = _slots(tensors, file=file, by_torch=by_torch)
    layers: list[LayerWeights] = []
    used: set[str] = set()
    for module in sorted(modules):
        places = modules[module]
        own = {tensor.name for slot in places.values() for forms in slot.forms.values() for tensor in forms.values()}
        used |= own
        if module in questions:
            continue
        try:
            left_out = check_beside(module, own, tensors, list(modules), file=file, keys=keys)
            read = _read_module(module, places, file=file, keys=keys, stated=activations.get(module))
            layers += [replace(one, assumptions=(*one.assumptions, left_out)) for one in read] if left_out else read
        except OverBudgetError:
            raise
        except (InputError, UsageError) as question:
            questions[module] = question
    if not modules:
        return echo_states(tensors, file=file, keys=keys)
    return RecurrentModules(layers, questions, used)


_Places = dict[tuple[int, Direction], _Slot]


def _slots(
    tensors: Mapping[str, StoredTensor], *, file: str, by_torch: bool
) -> tuple[dict[str, _Places], dict[str, InputError | UsageError]]:
    """The recurrent modules' tensors by module, layer, direction, role and form; and modules named twice over."""
    modules: dict[str, _Places] = {}
    questions: dict[str, InputError | UsageError] = {}
    singles: list[tuple[ParameterName, str]] = []
    named: list[tuple[ParameterName, str]] = []
    for original, name in strip_wrappers(list(tensors)).items():
        parsed = parse_name(name)
        if parsed is not None:
            named.append((parsed, original))
        elif (single := parse_single_bias(name)) is not None:
            singles.append((single, original))
    recurrent = {found.module for found, _ in named if found.role in ("weight_hh", "weight_ih")}
    # A lone bias_ih is somebody else's name; a lone "bias" belongs to whatever has recurrent weights beside it.
    named = [one for one in named if one[0].module in recurrent]
    twofold = {(one.module, one.layer, one.direction) for one, _ in named if one.role in ("bias_ih", "bias_hh")}
    rows = {
        (one.module, one.layer, one.direction): tensors[original].shape[:1]
        for one, original in named
        if one.role == "weight_hh" and one.form != "g"
    }
    for one, original in singles:
        place_of = (one.module, one.layer, one.direction)
        # At the top level a "bias" of another length is the head's.
        fits = one.module or tensors[original].shape == rows.get(place_of)
        if one.module in recurrent and place_of not in twofold and fits:
            named.append((one, original))
    for found, original in named:
        module = found.module
        if found.form == "raw" and f"{module}.module" in recurrent:
            module = f"{module}.module"  # WeightDrop around the module keeps the raw weight in its own scope
        place: tuple[int, Direction] = (found.layer, found.direction)
        slot = modules.setdefault(module, {}).setdefault(place, _Slot())
        slot.is_pytorch &= found.is_pytorch and (found.is_numbered or by_torch)
        forms = slot.forms.setdefault(found.role, {})
        if found.form in forms:
            questions[module] = InputError(
                f"{file}: '{forms[found.form].name}' and '{original}' both name {found.role} of layer {found.layer} "
                f"({found.direction}) of module {module_title(module)}; remove or rename one"
            )
        forms[found.form] = tensors[original]
    return modules, questions


def _read_module(module: str, places: _Places, *, file: str, keys: FileKeys, stated: str | None) -> list[LayerWeights]:
    """One module's layers.

    Raises
    ------
    InputError
        If a layer is incomplete, or its shapes, dtypes or values cannot be weights of a cell.
    UsageError
        If a key does not apply.
    """
    where = f"{file}: module {module_title(module)}: "
    for slot in places.values():
        slot.resolve(file=file, where=where)
    order = sorted(places, key=lambda place: (place[0], place[1] != "forward"))
    blocks = {place: _blocks(places[place], place, where) for place in order}
    if len(set(blocks.values())) > 1:
        raise InputError(f"{where}its layers have {sorted(set(blocks.values()))} gate blocks; one module is one cell")
    n_blocks = next(iter(blocks.values()))
    _check_stack(places, order, where)
    proven = all(slot.is_pytorch for slot in places.values())
    cell, facts, assumptions = cell_of_blocks(n_blocks, where=where, keys=keys, proven=proven, stated=stated)
    projections = [slot.tensors["weight_hr"] for slot in places.values() if "weight_hr" in slot.tensors]
    if projections:
        cell = _projected(cell, projections, places, where)
    if stated is not None:
        keys = replace(keys, activation=stated)
    return [_layer(module, place, places[place], cell, facts, assumptions, file=file, keys=keys) for place in order]


def _blocks(slot: _Slot, place: tuple[int, Direction], where: str) -> int:
    """Check one layer's shapes and return its number of gate blocks G."""
    layer = f"layer {place[0]} ({place[1]})"
    for role in ("weight_hh", "weight_ih"):
        if role not in slot.tensors:
            found = ", ".join(f"'{tensor.name}'" for tensor in slot.tensors.values())
            raise InputError(f"{where}{layer} has {found} but no {role}; the file is incomplete, save the whole module")
    w_hh, w_ih = slot.tensors["weight_hh"], slot.tensors["weight_ih"]
    for tensor in (w_hh, w_ih):
        if tensor.dtype == "object":
            tensor.load()  # says what it is
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise InputError(
                f"{where}'{tensor.name}' should be a matrix (gates·hidden, columns) with at least one row and column, "
                f"but its shape is {shown(tensor.shape)}; save the weight as a 2-D array"
            )
    rows, hidden = w_hh.shape
    if (w_hr := slot.tensors.get("weight_hr")) is not None:
        if len(w_hr.shape) != 2 or 0 in w_hr.shape or w_hr.shape[0] != hidden or rows % w_hr.shape[1]:
            raise InputError(
                f"{where}'{w_hr.name}' should be a projection (P, H) beside '{w_hh.name}' (4·H, P), but their shapes "
                f"are {shown(w_hr.shape)} and {shown(w_hh.shape)}; save both from one nn.LSTM(proj_size=P)"
            )
        hidden = w_hr.shape[1]
    if rows % hidden:
        hint = "; it looks transposed, rows must be outputs" if hidden % rows == 0 else ""
        raise InputError(
            f"{where}'{w_hh.name}' should have G·H rows for H columns (G gate blocks), but its shape is "
            f"{shown(w_hh.shape)}{hint or '; check which array it is'}"
        )
    if w_ih.shape[0] != rows:
        raise InputError(
            f"{where}'{w_ih.name}' should have the {rows} rows of '{w_hh.name}', but its shape is {shown(w_ih.shape)}; "
            "rows are gates·hidden in both (transpose it if its columns are)"
        )
    for role in ("bias_ih", "bias_hh"):
        bias = slot.tensors.get(role)
        if bias is not None and bias.shape != (rows,):
            raise InputError(
                f"{where}'{bias.name}' should have shape ({rows},) like the rows of '{w_hh.name}', but it has "
                f"{shown(bias.shape)}; check that it belongs to this layer"
            )
    return rows // hidden


def _projected(cell: str, projections: list[StoredTensor], places: _Places, where: str) -> str:
    """The cell of layers with a projection: PyTorch has it for the lstm, in every layer and direction or in none."""
    name = projections[0].name
    if cell != "lstm":
        raise InputError(f"{where}'{name}' is the projection of an lstm, which {cell} is not; remove it if it is not")
    if len(projections) != len(places):
        raise InputError(f"{where}'{name}' projects one layer, others have no weight_hr; save the whole module")
    return "lstm-projected"


def _check_stack(places: _Places, order: list[tuple[int, Direction]], where: str) -> None:
    """Check that layers count up from 0, have the same directions, and that each takes what the one below puts out."""
    numbers = sorted({number for number, _ in order})
    if numbers != list(range(len(numbers))):
        raise InputError(f"{where}layers should count 0, 1, 2, …, but it has layers {numbers}; a layer is missing")
    for number in numbers:
        here = [place for place in order if place[0] == number]
        if len(here) != len([place for place in order if place[0] == 0]):
            raise InputError(
                f"{where}layer {number} has {' and '.join(d for _, d in here)} weights, unlike layer 0; "
                "save every direction of every layer"
            )
        if number == 0:
            continue
        below = [places[place].tensors["weight_hh"].shape[1] for place in order if place[0] == number - 1]
        for place in here:
            w_ih = places[place].tensors["weight_ih"]
            if w_ih.shape[1] != sum(below):
                raise InputError(
                    f"{where}'{w_ih.name}' should take the {sum(below)} outputs of layer {number - 1}, but it has "
                    f"{w_ih.shape[1]} columns; the layers do not fit together"
                )


def cell_of_blocks(
    n_blocks: int, *, where: str, keys: FileKeys, proven: bool = False, stated: str | None = None
) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Name the cell that G gate blocks stand for, the origin of each fact, and what was assumed on the way.

    With ``proven``, the names are PyTorch's own: its modules have its order of gates, and nothing there is assumed.
    ``stated`` is the activation where the module itself says it.

    Raises
    ------
    InputError
        If G has no conventional meaning and ``cell=`` is not given, or contradicts it.
    UsageError
        If a key does not apply to that cell.
    """
    if keys.cell is None and n_blocks not in _CELL_OF_BLOCKS:
        fitting = [cell for cell, gates in GATE_ORDER.items() if len(gates) == n_blocks]
        if not fitting:
            raise InputError(f"{where}weight_hh has {n_blocks} gate blocks (rows / columns); known cells have 1 to 4")
        raise InputError(
            f"{where}weight_hh has {n_blocks} gate blocks, which no convention settles; say which cell it is with "
            + " or ".join(f"cell={cell} (gates {','.join(GATE_ORDER[cell])})" for cell in fitting)
        )
    cell = keys.cell or _CELL_OF_BLOCKS[n_blocks]
    gates = GATE_ORDER[cell]
    if len(gates) != n_blocks:
        fitting = [name for name, order in GATE_ORDER.items() if len(order) == n_blocks]
        raise InputError(
            f"{where}cell={cell} has {len(gates)} gate blocks ({','.join(gates)}), but weight_hh has {n_blocks}"
            + (f"; cells that fit: {', '.join(fitting)}" if fitting else "")
        )
    keys.check_applies(cell, where=where)
    facts = {"cell": "key" if keys.cell else "convention", "gates": "convention", "layout": "convention"}
    assumptions: list[str] = []
    proven = proven and cell in _CELL_OF_BLOCKS.values()
    if keys.cell is None and not proven:
        others = [name for name, order in GATE_ORDER.items() if len(order) == n_blocks and name != cell]
        hint = f"cell={others[0]} says otherwise" if others else "cell= settles it"
        assumptions.append(f"{n_blocks} gate block{'s' * (n_blocks > 1)} read as {cell}: {hint}")
    if len(gates) > 1 and not proven:
        assumptions.append(
            f"gates taken in the order {','.join(gates)} (PyTorch's); reorder the rows if the file differs"
        )
    facts["activation"] = settle("activation", keys.activation, stated, "tanh", where=where)[1]
    if facts["activation"] == "convention" and cell not in ("lstm", "gru"):
        assumptions.append("activation assumed to be tanh: activation=relu (or sigmoid, identity) says otherwise")
    if len(gates) > 1:
        facts["gate_activation"] = "key" if keys.gate_activation else "convention"
    if cell == "gru":
        facts["reset"] = "key" if keys.reset else "convention"
        if keys.reset is None and not proven:
            assumptions.append(
                "gru reset gate assumed to act after the matrix product (PyTorch's): reset=before says otherwise"
            )
    return cell, facts, tuple(assumptions)


def _layer(
    module: str,
    place: tuple[int, Direction],
    slot: _Slot,
    cell: str,
    facts: dict[str, str],
    assumptions: tuple[str, ...],
    *,
    file: str,
    keys: FileKeys,
) -> LayerWeights:
    if cell == "gru" and "bias_ih" in slot.tensors and "bias_hh" not in slot.tensors and not slot.is_pytorch:
        slot.notes[f"the one bias '{slot.tensors['bias_ih'].name}' is added outside the reset gate's product"] = None
    values: dict[str, Array] = {role: load_weights(tensor, file=file) for role, tensor in slot.tensors.items()}
    bias_ih, bias_hh = values.get("bias_ih"), values.get("bias_hh")
    return LayerWeights(
        module=module,
        cell=cell,
        layer=place[0],
        direction=place[1],
        weight_ih=values["weight_ih"],
        weight_hh=values["weight_hh"],
        bias_ih=bias_ih,
        bias_hh=bias_hh,
        activation=keys.activation or "tanh",
        gate_activation=keys.gate_activation or "sigmoid",
        reset=None if cell != "gru" else ("before" if keys.reset == "before" else "after"),
        dtype=slot.tensors["weight_hh"].dtype,
        weight_hr=values.get("weight_hr"),
        gates_in_file=ALL_CELLS[cell].gates,
        parameters=tuple(
            slot.tensors[role].name
            for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            if role in slot.tensors
        ),
        facts_from=dict(facts),
        assumptions=(*assumptions, *slot.notes),
    )
