"""The SOURCE grammar: ``CELL[:key=value,...]`` or ``PATH[:key=value,...]``, one for every verb."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gradscope.cells import CELLS
from gradscope.errors import UsageError, did_you_mean

#: What can be built: the registered cells (the article's ladder first), the control, and the encoder–decoder.
BUILT_CELLS = (*CELLS, "dnn", "seq2seq")
INITS = ("gaussian", "orthogonal", "identity", "uniform", "nonnormal", "chrono")
ACTIVATION_NAMES = ("tanh", "sigmoid", "relu", "identity")
FILE_FORMATS = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".h5", ".hdf5", ".keras", ".onnx")

# A suffix counts as keys only if it reads ':key=', so that C:\w.npz and dir:1/w.npz stay paths.
_KEYS = re.compile(r":(?=[A-Za-z_]+=)")


def _integer(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError
        return value

    parse.__doc__ = f"a whole number ≥ {low}"
    return parse


def _number(text: str) -> float:
    """a finite number (at most 1e150, so that squares are finite too)"""
    value = float(text)
    if not math.isfinite(value) or abs(value) > 1e150:
        raise ValueError
    return value


def _positive(text: str) -> float:
    """a number above 0"""
    value = _number(text)
    if value <= 0:
        raise ValueError
    return value


def _probability(text: str) -> float:
    """a number from 0 up to, not including, 1"""
    value = _number(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


def _boolean(text: str) -> bool:
    """true or false"""
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    parse.__doc__ = "one of " + ", ".join(words)
    return parse


def _text(text: str) -> str:
    """a text"""
    if not text:
        raise ValueError
    return text


@dataclass(frozen=True)
class Key:
    """A key of the grammar: how it is read, its default, what it means."""

    parse: Callable[[str], Any]
    default: Any
    meaning: str


CELL_KEYS: dict[str, Key] = {
    "hidden": Key(_integer(1), 64, "hidden units of each layer"),
    "inputs": Key(_integer(1), 16, "width of the input"),
    "layers": Key(_integer(1), 1, "layers, each fed by the one below"),
    "bidirectional": Key(_boolean, False, "one forward and one backward network per layer"),
    "activation": Key(_one_of(*ACTIVATION_NAMES), "tanh", "candidate activation (gates stay sigmoid)"),
    "init": Key(_one_of(*INITS), "gaussian", "ensemble of W_hh"),
    "gain": Key(_number, 1.0, "scale of W_hh"),
    "input_gain": Key(_number, 1.0, "W_xh ~ N(0, input_gain²/inputs)"),
    "bias": Key(_number, 0.0, "constant added to every pre-activation"),
    "forget_bias": Key(_number, 0.0, "added to the gate that keeps the old state"),
    "chrono_max": Key(_integer(3), 100, "longest time of init=chrono, in steps"),
    "norm": Key(_one_of("none", "layer"), "none", "normalise pre-activations per sample and step"),
    "dropout": Key(_probability, 0.0, "dropout between layers, seeded mask"),
    "classes": Key(_integer(2), 10, "classes of the softmax head"),
}
SEQ2SEQ_KEYS: dict[str, Key] = {
    "cell": Key(_one_of("rnn", "lstm", "gru"), "lstm", "recurrence of encoder and decoder"),
    "vocab": Key(_integer(2), 32, "symbols the decoder writes"),
    "feedback": Key(_one_of("teacher", "soft", "greedy"), "greedy", "what the decoder reads back"),
    "max_steps": Key(_integer(1), 32, "longest output"),
    "temperature": Key(_positive, 1.0, "of the softmax"),
}
FILE_KEYS: dict[str, Key] = {
    "param": Key(_text, None, "the module, as `inspect` lists it (a glob)"),
    "layer": Key(_integer(0), None, "that layer alone, 0 = bottom"),
    "direction": Key(_one_of("forward", "backward"), None, "one direction of a bidirectional network"),
    "cell": Key(_one_of(*BUILT_CELLS), None, "what the file cannot tell"),
    "activation": Key(_one_of(*ACTIVATION_NAMES), None, "candidate activation"),
    "gate_activation": Key(_one_of("sigmoid", "hard_sigmoid", "hard_sigmoid_keras3"), None, "gate activation"),
    "reset": Key(_one_of("after", "before"), None, "where a gru's reset gate acts"),
    "bias": Key(_number, 0.0, "constant added to every pre-activation"),
    "encoder": Key(_text, "encoder", "module of the encoder"),
    "decoder": Key(_text, "decoder", "module of the decoder"),
    "head": Key(_text, "head", "module of the softmax head"),
    "embedding": Key(_text, "embedding", "module of the decoder's embedding"),
    "start": Key(_integer(0), 0, "symbol the decoder starts from"),
    "end": Key(_integer(-1), -1, "symbol that ends decoding (-1: the last)"),
    "feedback": SEQ2SEQ_KEYS["feedback"],
    "max_steps": SEQ2SEQ_KEYS["max_steps"],
    "temperature": SEQ2SEQ_KEYS["temperature"],
}
_SEQ2SEQ_FILE_KEYS = ("encoder", "decoder", "head", "embedding", "start", "end", "feedback", "max_steps", "temperature")


@dataclass(frozen=True)
class SourceSpec:
    """A parsed source.

    Attributes
    ----------
    text : str
        As the user wrote it.
    kind : {"cell", "file"}
    name : str
        The cell, or the path.
    given : dict
        The keys that were written, parsed.
    """

    text: str
    kind: Literal["cell", "file"]
    name: str
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)

    def __getitem__(self, key: str) -> Any:
        """The value of a key, or its default."""
        if key in self.given:
            return self.given[key]
        return known_keys(self.kind, self.name, self.given)[key].default


def known_keys(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Key]:
    """Which keys a source of this kind knows."""
    if kind == "cell":
        keys = dict(CELL_KEYS)
        cell = given.get("cell", "lstm") if name == "seq2seq" else name
        if cell not in CELLS or CELLS[cell].memory_gate is None:
            del keys["forget_bias"]
        if cell not in CELLS or not CELLS[cell].supports_norm:
            del keys["norm"]
        if name == "dnn":
            for key in ("layers", "bidirectional", "dropout"):
                del keys[key]
        if name == "seq2seq":
            for key in ("bidirectional", "classes", "dropout", "layers", "norm"):
                keys.pop(key, None)
            keys |= SEQ2SEQ_KEYS
        return keys
    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return {key: FILE_KEYS[key] for key in ("activation", "bias")}
    keys = {key: value for key, value in FILE_KEYS.items() if key != "bias"}
    if given.get("cell") != "seq2seq":
        keys = {key: value for key, value in keys.items() if key not in _SEQ2SEQ_FILE_KEYS}
    return keys


def parse_source(text: str) -> SourceSpec:
    """Read one SOURCE.

    >>> parse_source("lstm:hidden=8,forget_bias=1")["forget_bias"]
    1.0
    >>> parse_source("dir:1/w.npz").name
    'dir:1/w.npz'

    Raises
    ------
    UsageError
        For an unknown key or cell, a bad value or a key given twice; the message suggests what was meant.
    """
    parts = _KEYS.split(text, maxsplit=1)
    name, keys = parts[0], parts[1] if len(parts) > 1 else ""
    kind: Literal["cell", "file"] = "cell" if name in BUILT_CELLS else "file"
    if kind == "file" and not _looks_like_a_path(name):
        known = ", ".join(BUILT_CELLS)
        raise UsageError(
            f"'{name}' is neither a cell nor a file here.{did_you_mean(name.lower(), BUILT_CELLS)}\n"
            f"Cells: {known}; files: {' '.join(FILE_FORMATS)}."
        )
    raw = _split_keys(text, keys)
    known_now = known_keys(kind, name, raw)
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
    if given.get("init") == "chrono" and "forget_bias" not in known_now:
        raise UsageError(f"init=chrono in '{text}' draws gate biases, and {name} has no gates: use gaussian.")
    return SourceSpec(text, kind, name, given)


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


def _split_keys(text: str, keys: str) -> dict[str, str]:
    raw: dict[str, str] = {}
    for item in keys.split(",") if keys else []:
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals:
            raise UsageError(f"'{item}' in '{text}': wanted key=value.")
        if key in raw:
            raise UsageError(f"key '{key}' stands twice in '{text}': keep one.")
        raw[key] = value.strip()
    return raw


def _unknown_key(kind: str, name: str, key: str, known: Mapping[str, Key]) -> str:
    subject = name if kind == "cell" else f"a {Path(name).suffix.lower() or 'file'} source"
    if kind == "cell" and (key in CELL_KEYS or key in SEQ2SEQ_KEYS):
        return f"{subject} has no {key}: its keys are {', '.join(known)}."
    if kind == "file" and key in _SEQ2SEQ_FILE_KEYS:
        return f"'{key}' is a key of cell=seq2seq; {subject} knows {', '.join(known)}."
    return f"{subject} knows no key '{key}'.{did_you_mean(key, known)}\nKnown: {', '.join(known)}."
