"""Typed keywords: the command line's spellings, a sentence for what is wrong, and the command that reproduces."""

from __future__ import annotations

import inspect
import io
import json
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.advice.advise_request import AdviceRequest
from gradscope.analysis.lyapunov_results import LyapunovRequest
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.spectrum_results import SpectrumRequest
from gradscope.cli import run
from gradscope.errors import UsageError

REQUESTS = {
    gradscope.gradients: GradientsRequest,
    gradscope.spectrum: SpectrumRequest,
    gradscope.lyapunov: LyapunovRequest,
    gradscope.advise: AdviceRequest,
}
INNER = {"lags_text", "figures"}


@pytest.mark.parametrize(("verb", "request_class"), REQUESTS.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_every_field_of_the_request_is_a_keyword_with_its_default(verb: Any, request_class: Any) -> None:
    keywords = {n: p for n, p in inspect.signature(verb).parameters.items() if p.kind == p.KEYWORD_ONLY}
    for field in fields(request_class):
        if field.name in INNER:
            continue
        assert field.name in keywords, f"{verb.__name__} has no keyword {field.name}"
        assert field.name in (verb.__doc__ or ""), f"{field.name} is not documented"
        default = keywords[field.name].default
        assert default == field.default or field.name == "memory"
        assert keywords[field.name].annotation != "Any"
    assert not any(p.kind == p.VAR_KEYWORD for p in inspect.signature(verb).parameters.values())


def rows(report: gradscope.Report) -> list[Any]:
    return [[r.to_dict()["rows"], r.to_dict()["summary"]] for r in report.results]


def test_the_command_lines_spellings() -> None:
    plain = gradscope.gradients("rnn:hidden=4", steps=20, lags=range(0, 21, 5), memory=2**30, seed=3, epsilon=1e-2)
    as_typed = gradscope.gradients("rnn:hidden=4", steps="20", lags="0:20:5", memory="1G", seed="3", epsilon="1e-2")
    numpys = gradscope.gradients(
        "rnn:hidden=4", steps=np.int64(20), lags=np.arange(0, 21, 5), seed=np.uint8(3), epsilon=np.float32(0.01)
    )
    assert rows(plain) == rows(as_typed)
    assert [row["lag"] for row in numpys.to_records()] == [0, 5, 10, 15, 20]
    assert plain.results[0].settings["lags"] == as_typed.results[0].settings["lags"] == "0:20:5"
    assert [r["lag"] for r in gradscope.gradients("rnn:hidden=4", steps=9, lags=[7, 2, 2, 3]).to_records()] == [2, 3, 7]
    assert gradscope.advise("rnn:hidden=4", steps=20, only="clip").results[0].n_rows == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stpes": 3}, r"gradients has no 'stpes'. Did you mean 'steps'\?"),
        ({"steps": "many"}, "steps='many': wanted a whole number"),
        ({"steps": 2.5}, "steps=2.5: wanted a whole number"),
        ({"steps": True}, "steps=True: wanted a whole number"),
        ({"steps": None}, "steps=None: wanted a whole number"),
        ({"steps": -1}, "≥ 0"),
        ({"steps": float("nan")}, "wanted a whole number"),
        ({"steps": np.zeros(3)}, r"steps=an array \(3,\): wanted a whole number"),
        ({"seed": 10**30}, None),
        ({"epsilon": "small"}, "epsilon='small': wanted a number"),
        ({"epsilon": float("nan")}, "wanted a number"),
        ({"per_layer": "yes"}, "per_layer='yes': wanted True or False"),
        ({"memory": "lots"}, "'lots' is no size"),
        ({"memory": "5"}, "less than 1M"),
        ({"memory": 0}, "memory=0: wanted a number of bytes"),
        ({"lags": "0:x"}, "wanted a number"),
        ({"lags": [1.5]}, "lags=1.5: wanted a whole number"),
        ({"lags": [-1]}, "≥ 0"),
        ({"lags": []}, "wanted whole numbers"),
        ({"lags": 3.5}, "wanted whole numbers"),
        ({"lags": ...}, "wanted whole numbers"),
        ({"loss": "mes"}, "wanted cross-entropy or mse"),
        ({"loss": 3}, "loss=3: wanted a word"),
        ({"dtype": np.float32}, "dtype=.*wanted a word"),
        ({"threads": "all"}, "threads='all'"),
        ({"inputs": "nromal"}, "Did you mean 'normal'"),
        ({"need": 500}, "beyond the run"),
    ],
    ids=str,
)
def test_a_wrong_name_or_value_is_a_sentence(options: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:  # large, but a seed
        gradscope.gradients("rnn:hidden=2", steps=3, **options)
        return
    with pytest.raises(UsageError, match=sentence) as caught:
        gradscope.gradients("rnn:hidden=2", **{"steps": 20, **options})
    assert len(str(caught.value)) < 600


def from_command(report: gradscope.Report) -> dict[str, Any]:
    """What the printed command writes."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert run([*report.command, "--json"]) == 0
    return json.loads(out.getvalue())


VECTOR = np.ones(4)


@pytest.mark.parametrize(
    ("verb", "sources", "options"),
    [
        ("gradients", ["rnn:hidden=4"], {}),
        ("gradients", ["rnn:hidden=4", "lstm:hidden=3"], {"steps": 30, "seed": 7, "lags": range(0, 31, 3)}),
        ("gradients", ["lstm:hidden=3,layers=2"], {"per_layer": True, "anchor": "start", "batch": 3, "loss": "mse"}),
        ("gradients", ["gru:hidden=3"], {"inputs": "zeros", "state": "normal", "transient": 5, "dtype": "float32"}),
        ("gradients", ["gru:hidden=3"], {"target": 4, "loss_at": "all", "truncation_bias": 0.01, "need": 12}),
        ("gradients", ["gru:hidden=3"], {"wrt": "inputs", "epsilon": 1e-5, "memory": "2M", "threads": 1}),
        ("gradients", ["w.npz"], {"inputs": "x.npy", "readout": "r.npz", "steps": 12}),
        ("gradients", [Path("w.npz")], {"inputs": Path("x.npy"), "state": Path("s.npy")}),
        ("gradients", [(Path("odd"), "layer=0")], {"loss": "linear", "readout": "v.npy"}),
        ("gradients", ["w.npz"], {"inputs": "b.npy", "time_major": True}),
        ("gradients", ["w.npz"], {"inputs": "b.npy", "time_major": False}),
        ("spectrum", ["rnn:hidden=4"], {"pseudospectrum": 0.1, "seed": 5}),
        ("lyapunov", ["rnn:hidden=4"], {"k": 2, "steps": 60, "singular_values": True}),
        ("lyapunov", ["rnn:hidden=4,inputs=2"], {"closed_loop": True, "covariant": True, "steps": 90}),
        ("advise", ["lstm:hidden=3"], {"reach": 15, "only": ["gain", "clip"], "steps": 20, "clip_percentile": 90}),
        ("inspect", ["lstm:hidden=3", "rnn"], {}),
    ],
    ids=str,
)
def test_the_command_reproduces_the_numbers(
    verb: str, sources: list[Any], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    weights = {"weight_ih_l0": rng.normal(size=(4, 2)), "weight_hh_l0": rng.normal(size=(4, 4))}
    np.savez("w.npz", **weights)
    with Path("odd").open("wb") as stream:
        np.savez(stream, **weights)
    np.save("x.npy", rng.normal(size=(15, 2)))
    np.save("b.npy", rng.normal(size=(5, 7, 2)))
    np.save("s.npy", rng.normal(size=4))
    np.save("v.npy", VECTOR)
    np.savez("r.npz", weight=rng.normal(size=(3, 4)))
    report = getattr(gradscope, verb)(*sources, **options)
    written = from_command(report)
    assert written["results"] == report.to_dict()["results"]
    assert written["command"][: len(report.command)] == list(report.command)


def test_where_no_command_line_can_the_call_is_written() -> None:
    weights = {"weight_ih_l0": np.eye(2), "weight_hh_l0": np.eye(2)}
    x = np.ones((9, 2))
    report = gradscope.gradients((weights, "activation=identity"), weights, inputs=x, seed=2, lags="0:9:3", loss="none")
    assert report.command == (
        'gradscope.gradients((state_dict, "activation=identity"), state_dict_2, '
        "inputs=inputs, seed=2, lags='0:9:3', loss='none')",
    )
    assert report.command_line == report.command[0]
    names = {"gradscope": gradscope, "state_dict": weights, "state_dict_2": weights, "inputs": x}
    again = eval(report.command[0], names)
    assert again.to_dict()["results"] == report.to_dict()["results"]
    dense = gradscope.gradients("rnn:hidden=2", steps=3, method="dense")
    assert dense.command == ("gradscope.gradients('rnn:hidden=2', steps=3, method='dense')",)
    assert gradscope.spectrum(np.eye(2), seed=1).command == ("gradscope.spectrum(array, seed=1)",)


def test_a_command_line_is_quoted_for_the_shell() -> None:
    report = gradscope.claims("C20", seed=3)
    assert report.command_line == "gradscope claims --claim=C20 --seed 3"
    assert from_command(report)["results"][0]["rows"][0]["measured"] == report.to_records()[0]["measured"]


def test_a_file_called_like_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("lstm").open("wb") as stream:
        np.savez(stream, weight_ih_l0=np.eye(2), weight_hh_l0=np.eye(2))
    report = gradscope.gradients(Path("lstm"), steps=4)
    assert report.command == ("gradients", "./lstm", "--steps", "4")
    assert from_command(report)["results"][0]["rows"] == report.to_dict()["results"][0]["rows"]


def test_sweep_has_every_option_of_what_it_measures() -> None:
    keywords = inspect.signature(gradscope.sweep).parameters
    for request_class in (GradientsRequest, SpectrumRequest, LyapunovRequest):
        for field in fields(request_class):
            # Rows and results of one run, and what a sweep of spectra has never had.
            if field.name not in {*INNER, "lags", "per_layer", "factors", "matrices", "pseudospectrum", "certify"}:
                assert field.name in keywords, f"sweep has no keyword {field.name}"
                assert field.name in (gradscope.sweep.__doc__ or "")


def test_the_command_of_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for step in (10, 20):
        np.savez(f"run-{step}.npz", weight_ih_l0=np.eye(2), weight_hh_l0=np.eye(2) * step / 20)
    report = gradscope.series("run-10.npz", "run-20.npz", steps=15, seed=2, epsilon=0.1, jobs=1, loss="none")
    assert report.command == (
        *("series", "run-10.npz", "run-20.npz", "--steps", "15", "--seed", "2"),
        *("--epsilon", "0.1", "--loss", "none"),
    )
    assert from_command(report)["results"][0]["rows"] == report.results[0].to_records()
