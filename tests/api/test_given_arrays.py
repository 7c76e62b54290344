"""Inputs, states, targets and readouts as arrays give the numbers of the files they would be saved to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, ShapeError, UsageError

RNG = np.random.default_rng(5)


def rows(report: gradscope.Report) -> str:
    return json.dumps([[r.to_dict()["rows"], r.to_dict()["summary"]] for r in report.results])


def saved(tmp_path: Path, name: str, values: Any) -> Path:
    if isinstance(values, dict):
        np.savez(tmp_path / name, **values)
    else:
        np.save(tmp_path / name, values)
    return tmp_path / name


@pytest.mark.parametrize(
    ("option", "values", "more"),
    [
        ("inputs", RNG.normal(size=(12, 3)), {}),
        ("inputs", RNG.normal(size=(2, 12, 3)), {"transient": 4}),
        ("inputs", RNG.normal(size=(12, 3)), {"wrt": "inputs"}),
        ("inputs", RNG.integers(0, 9, size=12), {}),
        ("inputs", RNG.integers(0, 9, size=(2, 12)), {}),
        ("tokens", RNG.integers(0, 9, size=(2, 12)), {}),
        ("state", RNG.normal(size=16), {"steps": 12}),
        ("state", RNG.normal(size=(2, 16)), {"steps": 12, "batch": 2}),
        ("target", np.array([4, 5]), {"steps": 12, "batch": 2}),
        ("target", RNG.integers(0, 9, size=(2, 12)), {"steps": 12, "batch": 2, "loss_at": "all"}),
        ("target", RNG.normal(size=(2, 9)), {"steps": 12, "batch": 2, "loss": "mse"}),
        ("readout", RNG.normal(size=4), {"steps": 12, "loss": "linear"}),
        ("readout", {"weight": RNG.normal(size=(7, 4)), "bias": RNG.normal(size=7)}, {"steps": 12, "target": 6}),
    ],
    ids=str,
)
def test_an_array_is_its_file(
    option: str, values: Any, more: dict[str, Any], tmp_path: Path, tensor: Any, arrays: Any
) -> None:
    name = saved(tmp_path, "given.npz" if isinstance(values, dict) else "given.npy", values)
    from_file = gradscope.gradients(arrays, **more, **{option: name})
    from_array = gradscope.gradients(arrays, **more, **{option: values})
    assert rows(from_array) == rows(from_file)
    tensors = {k: tensor(v) for k, v in values.items()} if isinstance(values, dict) else tensor(values)
    assert rows(gradscope.gradients(arrays, **more, **{option: tensors})) == rows(from_file)
    assert str(from_array.results[0].settings.get(option, "array")).startswith(("array", "tokens array"))
    json.dumps(from_array.to_dict(), allow_nan=False)


def test_a_linear_module_and_a_weight_alone_are_readouts(module: Any, arrays: Any) -> None:
    weight = RNG.normal(size=(7, 4))
    with_bias = {"weight": weight, "bias": np.zeros(7)}
    found = [gradscope.gradients(arrays, steps=9, readout=given) for given in (with_bias, module(with_bias), weight)]
    assert rows(found[0]) == rows(found[1]) == rows(found[2])
    assert found[0].results[0].settings["readout"] == "array (7, 4)"


def test_lyapunov_takes_them_too() -> None:
    W = RNG.normal(size=(5, 5))
    x, s = RNG.normal(size=(80, 16)), RNG.normal(size=5)
    found = gradscope.lyapunov("rnn:hidden=5", inputs=x, state=s)
    assert found.results[0].settings["inputs"] == "array (80, 16)"
    loop = gradscope.lyapunov("rnn:hidden=5,inputs=5", closed_loop=True, readout={"weight": W}, steps=80)
    assert loop.results[0].summary["max"] is not None


@pytest.mark.parametrize("given", [[[0.5] * 3] * 6, np.full((6, 3), 0.5, dtype=np.float16)])
def test_nested_lists_and_short_floats(given: Any, arrays: Any) -> None:
    expected = gradscope.gradients(arrays, inputs=np.full((6, 3), 0.5))
    assert rows(gradscope.gradients(arrays, inputs=given)) == rows(expected)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"inputs": np.zeros((5, 4))}, ShapeError, r"inputs of width 3, the file has shape \(5, 4\)|width 3"),
        ({"inputs": np.zeros((0, 3))}, InputError, "holds no numbers"),
        ({"inputs": np.full((5, 3), np.nan)}, InputError, r"inputs: there is a NaN or Inf at index \(0, 0\)"),
        ({"inputs": np.array(["a"])}, InputError, "wanted real numbers"),
        ({"inputs": np.zeros((5, 3), dtype=complex)}, InputError, "complex128, wanted real"),
        ({"inputs": [[1.0], [1.0, 2.0]]}, InputError, "cannot be read as an array"),
        ({"inputs": 3}, InputError, None),
        ({"inputs": {"a": 1}}, InputError, "wanted an array or tensor of numbers, got dict"),
        ({"inputs": None}, InputError, "got NoneType"),
        ({"inputs": np.array([1, 2, 9])}, InputError, "token 9 is not in the vocabulary"),
        ({"tokens": np.array([0.5])}, ShapeError, "wanted whole numbers"),
        ({"state": np.zeros(5)}, ShapeError, r"wanted \(16,\)"),
        ({"target": np.array([9])}, UsageError, "classes 0 … 8"),
        ({"target": np.zeros((3, 3), dtype=int)}, ShapeError, "wanted shape"),
        ({"readout": np.zeros((4, 5))}, ShapeError, r"weight \(classes, 4\)"),
        ({"readout": {"bias": np.zeros(4)}}, InputError, "no array named weight"),
        ({"readout": {"weight": np.zeros((2, 4))}, "loss": "linear"}, UsageError, "wanted one vector"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_a_sentence(
    options: dict[str, Any], error: type[Exception], sentence: str | None, arrays: Any
) -> None:
    with pytest.raises(error, match=sentence):
        gradscope.gradients(arrays, **{"steps": 5, **options})
