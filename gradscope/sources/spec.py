"""The SOURCE grammar: ``CELL[:key=value,...]`` or ``PATH[:key=value,...]``, one for every verb."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradscope.cells import CELLS, keys_of_cells
from gradscope.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS
from gradscope.cells.keys import Key, boolean, integer, number, one_of, positive, probability, word
from gradscope.errors import UsageError, did_you_mean
from gradscope.sources.ensembles import ENSEMBLES
from gradscope.sources.file_format import FORMATS_SENTENCE, is_one_array

if TYPE_CHECKING:
    from gradscope.sources.held import Held

#: What can be built: the registered cells (the article's ladder first), the control, and the encoder–decoder.
BUILT_CELLS = (*CELLS, "dnn", "seq2seq")
#: What a weights file can be read as.
READABLE_CELLS = (*(name for name, cell in CELLS.items() if cell.recurrent == "full"), "dnn", "seq2seq")

#: Recurrences that people train and that are no cells here: no name that is merely near to one of theirs is meant.
_NAMES_ELSEWHERE = (
    "bayesianlstm cfc convgru convlstm dcrnn deltanet gateddeltanet gla griffin gssm hawk hgrn hgrn2 hippo hyena "
    "jamba janet linearattention lmu ltc mamba mamba2 mgu mlstm nru ntm phasedlstm qrnn retnet rglru rhn rwkv s4 s4d "
    "s5 s6 srnn sru treelstm tsrnn urlstm xlstm"
)
ELSEWHERE = frozenset(_NAMES_ELSEWHERE.split())
#: How they are measured.
MEASURE_ROAD = "gradscope.torch.measure(step, inputs, state) with step(x, state) → state"

# A suffix counts as keys only if it reads ':key=', so that C:\w.npz and dir:1/w.npz stay paths.
_KEYS = re.compile(r":(?=[A-Za-z_]+=)")


#: Of every network built here; its cell adds what it declares (:meth:`gradscope.cells.cell.Cell.declared_keys`).
WEIGHT_KEYS: dict[str, Key] = {
    "hidden": Key(integer(1), 64, "hidden units of each layer"),
    "inputs": Key(integer(1), 16, "width of the input"),
    "activation": Key(one_of(*ACTIVATIONS), "tanh", "candidate activation (gates stay sigmoid)"),
    "init": Key(one_of(*ENSEMBLES), "gaussian", "ensemble of the weights"),
    "gain": Key(number, 1.0, "scale of W_hh"),
    "input_gain": Key(number, 1.0, "scale of W_xh, N(0, input_gain²/inputs) unless init says otherwise"),
    "bias": Key(number, 0.0, "constant added to every pre-activation"),
}
LAYER_KEYS: dict[str, Key] = {
    "layers": Key(integer(1), 1, "layers, each fed by the one below"),
    "bidirectional": Key(boolean, False, "one forward and one backward network per layer"),
    "dropout": Key(probability, 0.0, "dropout between layers, seeded mask"),
}
READOUT_KEYS: dict[str, Key] = {"classes": Key(integer(2), 10, "classes of the softmax head")}
SEQ2SEQ_KEYS: dict[str, Key] = {
    "cell": Key(one_of(*CELLS), "lstm", "recurrence of encoder and decoder"),
    "vocab": Key(integer(2), 32, "symbols the decoder writes"),
    "feedback": Key(one_of("teacher", "soft", "greedy"), "greedy", "what the decoder reads back"),
    "max_steps": Key(integer(1), 32, "longest output"),
    "temperature": Key(positive, 1.0, "of the softmax"),
}
MATRIX_KEYS: dict[str, Key] = {
    "activation": Key(one_of(*ACTIVATIONS), None, "candidate activation"),
    "bias": Key(number, 0.0, "constant added to every pre-activation"),
    "gain": Key(number, 1.0, "what if W_hh were multiplied by this"),
}
FILE_KEYS: dict[str, Key] = {
    "param": Key(word, None, "the module, as `inspect` lists it (a glob)"),
    "stack": Key(word, None, "modules that run as one network, bottom first: stack=a,b or a+b"),
    "layer": Key(integer(0), None, "that layer alone, 0 = bottom"),
    "direction": Key(one_of("forward", "backward"), None, "one direction of a bidirectional network"),
    "cell": Key(one_of(*READABLE_CELLS), None, "what the file cannot tell"),
    "activation": Key(one_of(*ACTIVATIONS), None, "candidate activation"),
    "gate_activation": Key(one_of(*GATE_ACTIVATIONS), None, "gate activation"),
    "head": Key(word, None, "the readout, a weight (V, H) with its bias (a glob; seq2seq: head)"),
    "embedding": Key(word, None, "the embedding, a weight (V, I) (a glob; seq2seq: embedding)"),
    **{name: replace(key, default=None) for name, key in keys_of_cells().items() if key.in_files},
    "norm": Key(one_of("none", "layer"), None, "a layer norm of pre-activations that the file cannot tell"),
    "ignore": Key(word, None, "tensors beside the cell to go on without (a glob)"),
    "forget_bias": Key(number, 0.0, "what if this were added to the gate that keeps the old state"),
    "gain": MATRIX_KEYS["gain"],
}
SEQ2SEQ_FILE_KEYS: dict[str, Key] = {
    "encoder": Key(word, "encoder", "module of the encoder"),
    "decoder": Key(word, "decoder", "module of the decoder"),
    "start": Key(integer(0), 0, "symbol the decoder starts from"),
    "end": Key(integer(-1), -1, "symbol that ends decoding (-1: the last)"),
    **{name: SEQ2SEQ_KEYS[name] for name in ("feedback", "max_steps", "temperature")},
}
#: Keys that may stand twice, as a change appended to a source makes them: the last counts, and a warning says so.
LAST_COUNTS = frozenset({"forget_bias", "gain", "leak", "init", "chrono_max", "norm"})


@dataclass(frozen=True)
class SourceSpec:
    """A parsed source.

    Attributes
    ----------
    text : str
        As the user wrote it.
    kind : {"cell", "file"}
    name : str
        What stands before the keys: the cell, the path, or what people call a network that is held in memory.
    given : dict
        The keys that were written, parsed.
    overridden : tuple of str
        Keys of :data:`LAST_COUNTS` that were written more than once.
    held : HeldWeights or Matrices, optional
        Weights or Jacobians that a Python caller holds; None where they are built, or read from the path.
    """

    text: str
    kind: Literal["cell", "file"]
    name: str
    given: Mapping[str, Any] = field(default_factory=dict)
    overridden: tuple[str, ...] = ()
    held: Held | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was written and does not count."""
        return tuple(f"{key} stands more than once in '{self.text}': the last one counts" for key in self.overridden)

    @property
    def path(self) -> Path:
        return Path(self.name)

    def __getitem__(self, key: str) -> Any:
        """The value of a key, or its default."""
        return self.given[key] if key in self.given else self.known_keys()[key].default

    @property
    def as_text(self) -> str:
        """As the grammar reads it back: a file that is called like a cell gets a directory."""
        return f"./{self.text}" if self.kind == "file" and self.name in BUILT_CELLS else self.text

    def known_keys(self) -> dict[str, Key]:
        """Which keys this source knows."""
        return known_keys(self.kind, self.name, self.given, one_array=self.is_one_array)

    @property
    def is_one_array(self) -> bool:
        """Whether it is a matrix or ready Jacobians, rather than named weights or a cell."""
        if self.held is not None:
            return self.held.is_one_array
        return self.kind == "file" and is_one_array(self.name)


def known_keys(kind: str, name: str, given: Mapping[str, Any], *, one_array: bool | None = None) -> dict[str, Key]:
    """Which keys a source of this kind knows: those of its parts, put together.

    ``one_array`` says whether a file is a single array; without it, its content does.
    """
    if kind == "cell" and name == "dnn":
        return {**WEIGHT_KEYS, **READOUT_KEYS}
    if kind == "cell" and name == "seq2seq":
        cell = CELLS.get(given.get("cell", "lstm"), CELLS["lstm"])
        return {**WEIGHT_KEYS, **cell.declared_keys(), **SEQ2SEQ_KEYS}
    if kind == "cell":
        return {**WEIGHT_KEYS, **LAYER_KEYS, **CELLS[name].declared_keys(), **READOUT_KEYS}
    if is_one_array(name) if one_array is None else one_array:
        return MATRIX_KEYS
    return {**FILE_KEYS, **(SEQ2SEQ_FILE_KEYS if given.get("cell") == "seq2seq" else {})}


def every_key() -> set[str]:
    """All keys of all kinds of sources."""
    built = {**WEIGHT_KEYS, **LAYER_KEYS, **READOUT_KEYS, **SEQ2SEQ_KEYS, **keys_of_cells()}
    return {*built, *MATRIX_KEYS, *FILE_KEYS, *SEQ2SEQ_FILE_KEYS}


def parse_source(text: str) -> SourceSpec:
    """Read one SOURCE.

    >>> parse_source("lstm:hidden=8,forget_bias=1")["forget_bias"]
    1.0
    >>> parse_source("dir:1/w.npz").name
    'dir:1/w.npz'

    Raises
    ------
    UsageError
        For an unknown key or cell, a bad value, or a key given twice where that is no change appended to a source;
        the message suggests what was meant.
    """
    parts = _KEYS.split(text, maxsplit=1)
    name, keys = parts[0], parts[1] if len(parts) > 1 else ""
    kind: Literal["cell", "file"] = "cell" if name in BUILT_CELLS else "file"
    if kind == "file" and not _looks_like_a_path(name):
        known = ", ".join(BUILT_CELLS)
        raise UsageError(f"{_no_source(name)}\nCells: {known}; {FORMATS_SENTENCE}.")
    return spec_of_keys(text, kind, name, keys)


def _no_source(name: str) -> str:
    """What to do about a name that is neither a cell nor a file: a typing error, or a recurrence that is not here."""
    sentence = f"'{name}' is neither a cell nor a file here."
    suggestion = "" if name.lower().replace("-", "") in ELSEWHERE else did_you_mean(name.lower(), BUILT_CELLS)
    return sentence + (suggestion or f" Any other recurrence: {MEASURE_ROAD}.")


def spec_of_keys(
    text: str, kind: Literal["cell", "file"], name: str, keys: str, *, held: Held | None = None
) -> SourceSpec:
    """A source whose name is settled, with its keys read: ``key=value,key=value`` or nothing.

    Raises
    ------
    UsageError
        As :func:`parse_source`.
    """
    raw, overridden = _split_keys(text, keys)
    known_now = known_keys(kind, name, raw, one_array=None if held is None else held.is_one_array)
    given: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known_now:
            raise UsageError(_unknown_key(kind, name, key, known_now))
        parse = known_now[key].parse
        try:
            given[key] = parse(value)
        except (ValueError, KeyError, OverflowError):
            raise UsageError(f"{key}={value} in '{text}': wanted {parse.__doc__}.") from None
    if given.get("init") != "chrono" and "chrono_max" in given:
        raise UsageError(f"chrono_max in '{text}' has no effect without init=chrono.")
    if given.get("init") == "chrono" and "chrono_max" not in known_now:
        raise UsageError(f"init=chrono in '{text}' draws gate biases, and {name} has no gates: use gaussian.")
    return SourceSpec(text, kind, name, given, overridden, held)


def with_keys_of(spec: SourceSpec, text: str) -> SourceSpec:
    """The same cell, file or held weights with the keys of ``text``, which begins with the source's own name."""
    return spec_of_keys(text, spec.kind, spec.name, text[len(spec.name) + 1 :], held=spec.held)


def split_keys(text: str) -> tuple[str, str]:
    r"""A source as its name and its keys with their colon.

    >>> split_keys("w.npz:encoder=a/b"), split_keys("C:\\w.npz")
    (('w.npz', ':encoder=a/b'), ('C:\\w.npz', ''))
    """
    name = _KEYS.split(text, maxsplit=1)[0]
    return name, text[len(name) :]


def _looks_like_a_path(name: str) -> bool:
    if not name.strip():
        return False
    return "/" in name or "\\" in name or bool(Path(name).suffix) or Path(name).exists()


def _split_keys(text: str, keys: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Keys with their values as text, and those that were written again."""
    raw: dict[str, str] = {}
    overridden: list[str] = []
    for item in keys.split(",") if keys else []:
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals and next(reversed(raw), None) == "stack":
            raw["stack"] += f",{key}"  # stack=a,b,c: a part without "=" goes on with the list
            continue
        if not equals:
            raise UsageError(f"'{item}' in '{text}': wanted key=value.")
        if key in raw and key not in LAST_COUNTS:
            raise UsageError(f"key '{key}' stands twice in '{text}': keep one.")
        if key in raw:
            overridden.append(key)
        if key == "init" and key in raw:
            raw.pop("chrono_max", None)  # it belonged to the init before
        raw[key] = value.strip()
    return raw, tuple(dict.fromkeys(overridden))


def _unknown_key(kind: str, name: str, key: str, known: Mapping[str, Key]) -> str:
    subject = name if kind == "cell" else f"a {Path(name).suffix.lower() or 'file'} source"
    of_others = {**LAYER_KEYS, **READOUT_KEYS, **keys_of_cells(), **SEQ2SEQ_KEYS}
    if kind == "cell" and key in of_others:
        return f"{subject} has no {key}: its keys are {', '.join(known)}."
    if kind == "file" and key in SEQ2SEQ_FILE_KEYS:
        return f"'{key}' is a key of cell=seq2seq; {subject} knows {', '.join(known)}."
    return f"{subject} knows no key '{key}'.{did_you_mean(key, known)}\nKnown: {', '.join(known)}."
