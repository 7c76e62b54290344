"""A network that is in memory is read like the file it would be saved to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, UsageError
from gradscope.records import Report


def rows(report: Report) -> list[str]:
    return [json.dumps([result.to_dict()["rows"], result.to_dict()["summary"]]) for result in report.results]


@pytest.mark.parametrize("verb", ["gradients", "spectrum", "lyapunov", "inspect"])
def test_every_way_to_give_a_network_is_the_same_network(
    verb: str, arrays: Any, tmp_path: Path, tensor: Any, module: Any
) -> None:
    before = "torch" in sys.modules  # by tests of this process that need it
    np.savez(tmp_path / "w.npz", **arrays)
    tensors = {name: tensor(values) for name, values in arrays.items()}
    ways = [str(tmp_path / "w.npz"), tmp_path / "w.npz", arrays, tensors, module(tensors), module(arrays)]
    ways += [{"state_dict": tensors, "epoch": 3, "optimizer": {"lr": 0.1, "state": {}}}]
    options = {} if verb == "inspect" else {"seed": 3} if verb == "spectrum" else {"seed": 3, "steps": 30}
    found = [rows(getattr(gradscope, verb)(way, **options)) for way in ways]
    if verb == "inspect":  # names of what was passed over differ with what was there
        found = [[json.dumps(json.loads(text)[0]) for text in one] for one in found]
    assert all(one == found[0] for one in found[1:])
    assert before or "torch" not in sys.modules


def test_bfloat16_is_read_exactly(arrays: dict[str, Any], tensor: Any) -> None:
    short = {name: values.astype(ml_dtypes.bfloat16) for name, values in arrays.items()}
    exact = {name: values.astype(np.float64) for name, values in short.items()}
    fake = {name: tensor(values.astype(np.float32), "bfloat16") for name, values in short.items()}
    found = [gradscope.gradients(way, steps=12) for way in (exact, short, fake)]
    assert rows(found[0]) == rows(found[1]) == rows(found[2])
    dtypes = [gradscope.inspect(way).results[0].to_records()[0]["dtype"] for way in (exact, short, fake)]
    assert dtypes == ["float64", "bfloat16", "bfloat16"]


def test_the_hash_is_over_names_and_values(arrays: dict[str, Any], tensor: Any) -> None:
    def digest(source: Any) -> str:
        return gradscope.inspect(source).results[0].source["sha256"]

    first = digest(arrays)
    assert digest(dict(reversed(list(arrays.items())))) == first
    assert digest({name: tensor(values) for name, values in arrays.items()}) == first
    assert digest({name: values.astype(">f4") for name, values in arrays.items()}) == first
    assert digest(arrays | {"head.bias": arrays["head.bias"] + 1}) != first
    assert digest({name.replace("rnn", "lstm"): values for name, values in arrays.items()}) != first


def test_keys_stand_beside_the_weights_and_several_modules_are_asked_about(arrays: dict[str, Any], module: Any) -> None:
    both = {f"{part}.{name}": values for part in ("encoder", "decoder") for name, values in arrays.items()}
    with pytest.raises(InputError, match=r'several recurrent modules.*\(model, "param=decoder.rnn"\)'):
        gradscope.gradients(module(both))
    picked = gradscope.gradients((module(both), "param=encoder.rnn,layer=1,head=encoder.*"), steps=8)
    alone = gradscope.gradients((arrays, "layer=1"), steps=8)
    assert picked.results[0].source["name"] == "Module:param=encoder.rnn,layer=1,head=encoder.*"
    assert picked.results[0].to_dict()["rows"] == alone.results[0].to_dict()["rows"]
    edited = gradscope.gradients((arrays, "forget_bias=1"), steps=8).results[0]
    assert edited.settings["edits"] == {"forget_bias": 1.0}
    with pytest.raises(UsageError, match="Did you mean 'param'"):
        gradscope.gradients((arrays, "parm=rnn"))


def test_a_path_is_a_path_and_its_keys_stand_beside_it(
    arrays: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("rnn").open("wb") as stream:
        np.savez(stream, **arrays)
    assert gradscope.inspect(Path("rnn")).results[0].source["cell"] == "lstm"
    assert gradscope.inspect("rnn").results[0].source["cell"] == "rnn"
    assert gradscope.gradients((Path("rnn"), "layer=1"), steps=3).results[0].source["layer"] == 1


def test_a_live_module_says_its_own_nonlinearity(module: Any) -> None:
    rng = np.random.default_rng(1)
    state = {"weight_ih_l0": rng.normal(size=(4, 2)), "weight_hh_l0": rng.normal(size=(4, 4))}

    class RNN(module):
        def named_modules(self) -> Any:
            yield "", self

    said = gradscope.gradients(RNN(state, "relu"), steps=9, loss="none").results[0]
    asked = gradscope.gradients((state, "activation=relu"), steps=9, loss="none").results[0]
    assert said.to_dict()["rows"] == asked.to_dict()["rows"]
    assert not any("assumed" in sentence for sentence in said.warnings)
    with pytest.raises(InputError, match="says relu; leave activation= out"):
        gradscope.gradients((RNN(state, "relu"), "activation=tanh"))


def test_a_matrix_and_ready_jacobians(tmp_path: Path) -> None:
    matrices = np.random.default_rng(2).normal(size=(7, 3, 3))
    np.save(tmp_path / "J.npy", matrices)
    np.save(tmp_path / "W.npy", matrices[0])
    assert rows(gradscope.gradients(matrices)) == rows(gradscope.gradients(tmp_path / "J.npy"))
    held = gradscope.gradients((matrices[0], "activation=identity"), steps=9)
    assert rows(held) == rows(gradscope.gradients(f"{tmp_path / 'W.npy'}:activation=identity", steps=9))


def test_training_on_changes_nothing_that_was_read(arrays: dict[str, Any]) -> None:
    weights = {name: values.astype(np.float64) for name, values in arrays.items()}
    source = gradscope.build(weights)
    before = source.named_cells[0].cell.weight_hh.copy(), np.array(source.arrays["head.weight"])
    for values in weights.values():
        values *= 2
    assert np.array_equal(source.named_cells[0].cell.weight_hh, before[0])
    assert np.array_equal(source.arrays["head.weight"], before[1])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (3, "a source is a string"),
        (None, "got NoneType"),
        ([1, 2], "got list"),
        ({}, "holds no array"),
        ({"weight_hh_l0": "x"}, "holds no array"),
        ({"fc.weight": np.eye(2)}, "should hold a recurrent layer"),
        (np.zeros((2, 3)), r"shape is \(2, 3\)"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([["a", "b"], ["c", "d"]]), "floating-point"),
        (np.eye(2, dtype=complex), "complex"),
        ({"weight_ih_l0": np.eye(2), "weight_hh_l0": np.eye(2, dtype=object)}, "object"),
        (("model.pt", "param=a"), "behind a colon"),
        ((np.eye(2), 4), "a pair as source"),
    ],
)
def test_what_is_no_network_is_a_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(gradscope.GradscopeError, match=sentence):
        gradscope.gradients(source)


def test_advice_is_measured_on_the_held_network(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    held, read = (gradscope.advise(way, steps=20, seed=1) for way in (arrays, tmp_path / "w.npz"))
    assert held.results[0].to_records() == read.results[0].to_records()
    assert any(row["after_rate"] is not None for row in held.results[0].rows())


def test_a_class_is_no_model_and_a_state_dict_is_a_mapping(module: Any) -> None:
    for source, sentence in ((module, "got type"), (module("x"), "gave str")):
        with pytest.raises(UsageError, match=sentence):
            gradscope.gradients(source)
