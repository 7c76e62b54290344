"""The map (loss step × copy): every entry against complex steps through a forward pass written out here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.analysis import loss_map_details as module
from gradscope.analysis.cases import cases_of
from gradscope.analysis.losses import loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.cells.cell import Cell
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.numerics.loss_map import measure_loss_map
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

Array = Any


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def step_of(name: str, w: dict[str, Array], W: Array, s: Array, x: Array) -> Array:
    """One step, complex or real; the state of an lstm is [h; c]."""
    a = w["weight_ih_l0"] @ x + w["bias_ih_l0"]
    if name == "rnn":
        return np.tanh(a + W @ s)
    h, c = np.split(s, 2)
    i, f, g, o = np.split(a + W @ h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(c), c])


def losses(name: str, w: dict[str, Array], x: Array, copies: list[Array], targets: Array) -> Array:
    """−ln softmax(W_hy h_n + b)_target of every step n = 1 … T."""
    n = w["fc.weight"].shape[1]
    s: Array = np.zeros(n * (1 if name == "rnn" else 2), dtype=complex)
    out = []
    for W, x_t, target in zip(copies, x, targets, strict=True):
        s = step_of(name, w, W, s, x_t)
        y = w["fc.weight"] @ s[:n] + w["fc.bias"]
        out.append(np.log(np.exp(y).sum()) - y[target])
    return np.array(out)


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_every_entry_is_the_gradient_of_one_loss_and_one_copy(name: str) -> None:
    rng = np.random.default_rng(len(name))
    n, width, T, gates = 3, 2, 7, 1 if name == "rnn" else 4
    w = {
        "weight_ih_l0": rng.normal(size=(gates * n, width)),
        "weight_hh_l0": rng.normal(size=(gates * n, n)),
        "bias_ih_l0": rng.normal(size=gates * n),
        "fc.weight": rng.normal(size=(4, n)),
        "fc.bias": rng.normal(size=4),
    }
    x, targets = rng.normal(size=(T, width)), rng.integers(4, size=T)
    report = gradscope.gradients(w, inputs=x, loss_at="all", target=targets)
    held = report.results[0].details["loss_map"]
    assert held["loss_step"] == held["copy"] == list(range(1, T + 1))
    assert held["phase"] == [None] * T
    W = w["weight_hh_l0"]
    whole = np.zeros(T)
    for i in range(1, T + 1):
        gradient = np.zeros((T, *W.shape))
        for place in np.ndindex(W.shape):
            moved = W.astype(complex)
            moved[place] += 1e-30j
            copies = [moved if t == i else W for t in range(1, T + 1)]
            gradient[(slice(None), *place)] = losses(name, w, x, copies, targets).imag / 1e-30
        whole[i - 1] = np.linalg.norm(gradient.sum(axis=0))
        for loss_step in range(1, T + 1):
            found = held["log10_dloss_dweight"][loss_step - 1][i - 1]
            exact = np.linalg.norm(gradient[loss_step - 1])
            if i == 1 or i > loss_step:  # the first copy multiplies h_0 = 0; a copy that comes later knows no such loss
                assert found is None
                assert exact < 1e-14
            else:
                assert found == pytest.approx(np.log10(exact), abs=1e-10)
    # The row of the same copy holds the norm of the sum over losses.
    rows = {row["lag"]: row["log10_dloss_dweight"] for row in report.results[0].rows()}
    assert [rows[T - i] for i in range(2, T + 1)] == pytest.approx(np.log10(whole[1:]), abs=1e-10)


def case_and_side(text: str, **options: Any) -> Any:
    request = GradientsRequest(**options)
    (case,) = cases_of(build_source(parse_source(text), seed=0), request)
    return case, loss_side(case, request), request


@pytest.mark.parametrize("feedback", ["teacher", "greedy", "soft"])
def test_which_decoder_step_teaches_which_encoder_step(feedback: str) -> None:
    case, side, request = case_and_side(
        f"seq2seq:cell=gru,hidden=3,vocab=4,feedback={feedback}", steps=4, target="1,3,2"
    )
    tape = case.tape
    assert isinstance(tape, Seq2SeqTape)
    held = module.loss_map_details(case, request, side)["loss_map"]
    S = len(held["loss_step"])
    assert held["phase"] == ["encoder"] * 4 + ["decoder"] * S
    assert held["copy"] == [1, 2, 3, 4, *range(1, S + 1)]
    for place, (phase, copy) in enumerate(zip(held["phase"], held["copy"], strict=True)):
        t = copy + (4 if phase == "decoder" else 0)
        exact = by_complex_steps(case, tape, t, S)
        for row in range(S):
            found = held["log10_dloss_dweight"][row][place]
            if exact[row] < 1e-15:
                assert found is None
            else:
                assert found == pytest.approx(np.log10(exact[row]), abs=1e-9)
    assert held["log10_dloss_dweight"][0][1] is not None  # the first decoder loss teaches the encoder


def by_complex_steps(case: Any, tape: Seq2SeqTape, t: int, S: int) -> Array:
    """‖∂L_s/∂W_hh^(t)‖_F of every decoder loss, W moved at step t alone."""
    model = case.source.seq2seq
    E = np.eye(len(model.head_bias)) if model.embedding is None else model.embedding
    x = tape.encoder.inputs.read(1, tape.encoder_steps)[:, 0]
    first: Cell = model.encoder if t <= tape.encoder_steps else model.decoder
    out = np.zeros((S, *first.weight_hh.shape))
    for place in np.ndindex(first.weight_hh.shape):
        moved = first.weight_hh.astype(complex)
        moved[place] += 1e-30j
        s: Array = np.asarray(tape.state(0)[0], dtype=complex)
        for step in range(1, tape.encoder_steps + S + 1):
            decodes = step > tape.encoder_steps
            cell = model.decoder if decodes else model.encoder
            if step == t:
                cell = replace(cell, weight_hh=moved)
            k = step - tape.encoder_steps
            read = x[step - 1] if not decodes else E[model.start]
            if k > 1 and model.feedback == "soft":
                y = (model.head_weight @ s[: cell.hidden_size] + model.head_bias) / model.temperature
                read = np.exp(y) / np.exp(y).sum() @ E
            elif k > 1:
                read = E[tape.target[k - 2, 0] if model.feedback == "teacher" else tape.decoded[k - 2, 0]]
            s = cell.step(s[None], cell.drive(read[None]))[0]
            if decodes:
                y = model.head_weight @ s[: cell.hidden_size] + model.head_bias
                out[(k - 1, *place)] = (np.log(np.exp(y).sum()) - y[tape.target[k - 1, 0]]).imag / 1e-30
    return np.sqrt(np.square(out).reshape(S, -1).sum(axis=1))


def test_a_long_run_is_mapped_on_a_grid_and_a_batch_on_average() -> None:
    options: dict[str, Any] = {"steps": 60, "batch": 3, "loss_at": "all"}
    case, side, request = case_and_side("rnn:hidden=4,gain=0.8", **options)
    held = module.loss_map_details(case, request, side)["loss_map"]
    assert len(held["loss_step"]) == module.POINTS
    assert (held["loss_step"][0], held["loss_step"][-1]) == (1, 60)
    found = measure_loss_map(case.tape, side.term, [60], [2])
    assert found is not None
    assert held["log10_dloss_dweight"][-1][held["copy"].index(60)] is not None
    (value,) = found.log10_dweight[:, 0].mean(axis=-1)
    shown = [row for row in held["log10_dloss_dweight"][-1] if row is not None]
    assert min(shown) >= value - 1  # nothing far below the oldest copy


def test_there_is_none_for_one_loss_or_no_weights() -> None:
    assert "loss_map" not in gradscope.gradients("rnn:hidden=3", steps=5).results[0].details
    assert "loss_map" not in gradscope.gradients("rnn:hidden=3", steps=5, loss="none", loss_at="all").results[0].details
    ready = gradscope.gradients(np.stack([np.eye(2)] * 4), loss_at="all", loss="linear", readout="random")
    assert "loss_map" not in ready.results[0].details


def test_pages_and_pictures_draw_it(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from gradscope.cli import run

    files = [tmp_path / f"map.{suffix}" for suffix in ("html", "svg", "json")]
    outputs = [word for path in files for word in ("-o", str(path))]
    assert run(["gradients", "rnn:hidden=3", "-T", "8", "--loss-at", "all", *outputs]) == 0
    assert "Which copy of W_hh each loss teaches" in capsys.readouterr().out
    assert all("Which loss teaches which copy" in path.read_text() for path in files[:2])
    alone = tmp_path / "alone.svg"
    assert run(["gradients", "seq2seq:hidden=3,vocab=4", "-T", "5", "--figure", "loss-map", "-o", str(alone)]) == 0
    assert "encoder step e, decoder step d" in alone.read_text()
    assert "encoder: most" in capsys.readouterr().out
