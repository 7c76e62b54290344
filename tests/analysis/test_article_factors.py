"""The article's product factor by factor, against a forward and backward pass written out here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.analysis import article_factors as module
from gradscope.analysis.article_factors import COLUMNS, FACTORS
from gradscope.errors import UsageError

Array = Any
SLOPES = {"tanh": lambda a: 1 / np.cosh(a) ** 2, "sigmoid": lambda a: 1 / (2 + 2 * np.cosh(a))}
VALUES = {"tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a))}


def made(n: int, width: int, classes: int, *, scale: float = 0.9, T: int = 9) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng([n, width, classes])
    weights = {
        "rnn.weight_ih_l0": rng.normal(size=(n, width)),
        "rnn.weight_hh_l0": scale * rng.normal(size=(n, n)) / np.sqrt(n),
        "rnn.bias_ih_l0": 0.3 * rng.normal(size=n),
        "rnn.bias_hh_l0": 0.3 * rng.normal(size=n),
        "fc.weight": rng.normal(size=(classes, n)),
        "fc.bias": rng.normal(size=classes),
    }
    return weights, rng.normal(size=(T, width))


def loss_with_copies(w: dict[str, Array], x: Array, copies: list[Array], activation: str, target: int) -> Any:
    """−ln softmax(W_hy h_T + b)_target with a W_hh of its own at every step, complex or real."""
    h = np.zeros(len(w["rnn.weight_hh_l0"]), dtype=complex)
    for W, x_t in zip(copies, x, strict=True):
        h = VALUES[activation](w["rnn.weight_ih_l0"] @ x_t + w["rnn.bias_ih_l0"] + w["rnn.bias_hh_l0"] + W @ h)
    y = w["fc.weight"] @ h + w["fc.bias"]
    return np.log(np.exp(y).sum()) - y[target]


def by_complex_steps(w: dict[str, Array], x: Array, i: int, activation: str, target: int) -> Array:
    """∂L/∂W_hh of the copy used at step i = 1 … T."""
    W = w["rnn.weight_hh_l0"]
    out = np.zeros(W.shape)
    for place in np.ndindex(W.shape):
        moved = W.astype(complex)
        moved[place] += 1e-30j
        copies = [moved if t == i else W for t in range(1, len(x) + 1)]
        out[place] = loss_with_copies(w, x, copies, activation, target).imag / 1e-30
    return out


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize(("n", "width", "classes"), [(2, 1, 3), (4, 3, 5), (7, 2, 2)])
def test_every_factor_and_the_truth(n: int, width: int, classes: int, activation: str) -> None:
    w, x = made(n, width, classes)
    T, W, target = len(x), w["rnn.weight_hh_l0"], classes - 1
    report = gradscope.gradients((w, f"activation={activation}"), inputs=x, factors=True, target=target)
    rows = list(report.results[0].rows())
    h, a = [np.zeros(n)], [np.zeros(n)]
    for x_t in x:
        a.append(w["rnn.weight_ih_l0"] @ x_t + w["rnn.bias_ih_l0"] + w["rnn.bias_hh_l0"] + W @ h[-1])
        h.append(VALUES[activation](a[-1]))
    y = w["fc.weight"] @ h[-1] + w["fc.bias"]
    dloss_dy = np.exp(y) / np.exp(y).sum() - np.eye(classes)[target]
    for row in rows[: T - 1]:
        k, i = row["lag"], T - row["lag"]
        slopes = [SLOPES[activation](a[j]).mean() for j in range(i + 1, T + 1)]
        expected = (
            np.linalg.norm(dloss_dy),
            np.linalg.norm(w["fc.weight"], 2),
            np.prod(slopes),
            np.linalg.norm(np.linalg.matrix_power(W, k), 2),
            np.linalg.norm(h[i - 1]),
        )
        assert [row[name] for name in FACTORS] == pytest.approx(np.log10(expected), abs=1e-10)
        # Displayed factors multiply to the displayed product, and the dropped slope is that of step i.
        assert sum(row[name] for name in FACTORS) == pytest.approx(row["log10_article"], abs=1e-12)
        dropped = np.log10(SLOPES[activation](a[i]).mean())
        assert row["log10_article_corrected"] - row["log10_article"] == pytest.approx(dropped, abs=1e-10)
        truth = np.log10(np.linalg.norm(by_complex_steps(w, x, i, activation, target)))
        assert row["log10_dloss_dweight"] == pytest.approx(truth, abs=1e-10)
    assert rows[T - 1]["log10_h_prev"] is None
    assert rows[T - 1]["log10_article"] is None
    assert rows[T - 1]["log10_power"] is not None
    assert rows[T]["log10_article"] is None  # no copy is left


def test_an_identity_rnn_of_one_unit_has_no_gap_at_all() -> None:
    """With one unit, slope 1 and length 1 nothing is lost between factors: article, corrected and truth are one."""
    w = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), 0.8)}
    report = gradscope.gradients((w, "activation=identity"), inputs=np.ones((12, 1)), factors=True, loss="linear",
                                 readout=np.array([2.0]))  # fmt: skip
    for row in list(report.results[0].rows())[:11]:
        assert row["log10_dloss_dy"] == 0.0
        assert row["log10_article"] == pytest.approx(row["log10_dloss_dweight"], abs=1e-12)
        assert row["log10_article_corrected"] == pytest.approx(row["log10_dloss_dweight"], abs=1e-12)


def test_saturation_beyond_float64_stays_exact() -> None:
    """Slope 10^-259.97 a step (bias 300): article at lag 3 is below 10^-780, where a product of floats would be 0."""
    w = {"weight_ih_l0": np.zeros((1, 1)), "weight_hh_l0": np.full((1, 1), 1e-20), "bias_ih_l0": np.full(1, 300.0)}
    report = gradscope.gradients(w, inputs=np.zeros((6, 1)), factors=True, loss="linear", readout=np.array([1.0]))
    rows = list(report.results[0].rows())
    one = 2 * (np.log10(2) - 300 / np.log(10))
    assert rows[3]["log10_slopes"] == pytest.approx(3 * one, abs=1e-9)
    assert rows[3]["log10_article_corrected"] == pytest.approx(4 * one - 60, abs=1e-9)
    assert rows[3]["log10_article_corrected"] == pytest.approx(rows[3]["log10_dloss_dweight"], abs=1e-9)


def test_mse_and_a_nilpotent_w() -> None:
    w, x = made(3, 2, 4)
    w["rnn.weight_hh_l0"] = np.diag([1.5, 1.5], -1)  # W^3 = 0 exactly
    rows = list(gradscope.gradients(w, inputs=x, factors=True, loss="mse", target=1.0).results[0].rows())
    assert [row["log10_power"] is None for row in rows[:5]] == [False, False, False, True, True]
    assert rows[3]["log10_article"] is None
    assert rows[3]["log10_slopes"] is not None
    assert rows[0]["log10_dy_dh"] == pytest.approx(np.log10(np.linalg.norm(w["fc.weight"], 2)), abs=1e-12)


@pytest.mark.parametrize("anchor", ["end", "start"])
def test_copies_are_counted_from_the_end_whatever_the_anchor(anchor: str) -> None:
    w, x = made(3, 2, 4)
    kept = gradscope.gradients(w, inputs=x, factors=True, anchor=anchor).results[0].columns
    ends = gradscope.gradients(w, inputs=x, factors=True).results[0].columns
    for name in COLUMNS:
        assert np.array_equal(kept[name], ends[name], equal_nan=True)


def test_a_dead_sample_does_not_break_the_sum() -> None:
    """One of two relu sequences is dead from step 5 on: slopes 0, h 0; the other one's factors are the row's."""
    w, _ = made(3, 1, 2)
    w["rnn.weight_ih_l0"] = np.ones((3, 1))
    w["rnn.weight_hh_l0"] = 0.4 * np.ones((3, 3))
    x = np.ones((2, 8, 1))
    x[1, 4:] = -1e6
    both = list(gradscope.gradients((w, "activation=relu"), inputs=x, factors=True).results[0].rows())
    alone = list(gradscope.gradients((w, "activation=relu"), inputs=x[:1], factors=True).results[0].rows())
    for row, single in zip(both[1:7], alone[1:7], strict=True):
        assert sum(row[name] for name in FACTORS) == pytest.approx(row["log10_article"], abs=1e-12)
        assert [row[name] for name in COLUMNS] == pytest.approx([single[name] for name in COLUMNS], abs=1e-12)


@pytest.mark.parametrize(
    ("source", "options", "word"),
    [
        ("lstm:hidden=3", {}, "lstm"),
        ("skip:hidden=3", {}, "skip"),
        ("leaky:hidden=3", {}, "leaky"),
        ("dnn:hidden=3", {}, "one W"),
        ("seq2seq:hidden=3", {}, "one W"),
        ("rnn:hidden=3,norm=layer", {}, "normalisation"),
        ("rnn:hidden=3,layers=2", {}, "one layer"),
        ("rnn:hidden=3", {"loss_at": "all"}, "last step"),
    ],
)
def test_where_the_article_has_no_formula_the_columns_are_null_and_it_is_said(
    source: str, options: dict[str, Any], word: str
) -> None:
    (result,) = gradscope.gradients(source, steps=6, factors=True, **options).results
    assert all(row[name] is None for row in result.rows() for name in COLUMNS)
    assert any("--factors" in text and word in text for text in result.warnings)


def test_without_a_loss_only_its_factors_are_null() -> None:
    rows = list(gradscope.gradients("rnn:hidden=3", steps=6, factors=True, loss="none").results[0].rows())
    assert rows[2]["log10_dloss_dy"] is None
    assert rows[2]["log10_article"] is None
    assert None not in (rows[2]["log10_slopes"], rows[2]["log10_power"], rows[2]["log10_h_prev"])


def test_a_bidirectional_file_reads_its_own_half_of_the_head() -> None:
    rng = np.random.default_rng(5)
    w = {"fc.weight": rng.normal(size=(4, 6)), "fc.bias": rng.normal(size=4)}
    for end in ("", "_reverse"):
        w |= {f"r.weight_ih_l0{end}": rng.normal(size=(3, 2)), f"r.weight_hh_l0{end}": 0.4 * rng.normal(size=(3, 3))}
    report = gradscope.gradients(w, inputs=rng.normal(size=(7, 2)), factors=True)
    halves = [np.linalg.norm(part, 2) for part in (w["fc.weight"][:, :3], w["fc.weight"][:, 3:])]
    for result, half in zip(report.results, halves, strict=True):
        assert list(result.rows())[1]["log10_dy_dh"] == pytest.approx(np.log10(half), abs=1e-12)
    assert list(report.results[0].rows())[1]["log10_dloss_dy"] == list(report.results[1].rows())[1]["log10_dloss_dy"]


def test_without_the_option_there_are_no_such_columns() -> None:
    assert not {*COLUMNS} & {*gradscope.gradients("rnn:hidden=3", steps=5).results[0].columns}


def test_questions_that_make_no_sense_together() -> None:
    with pytest.raises(UsageError, match="drop --wrt inputs"):
        gradscope.gradients("rnn:hidden=3", steps=5, factors=True, wrt="inputs")
    with pytest.raises(UsageError, match="leave --factors out"):
        gradscope.advise("rnn:hidden=3", steps=5, factors=True)


def printed(*words: str) -> str:
    command = [sys.executable, "-m", "gradscope", "gradients", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_one_row_can_be_redone_from_what_is_printed() -> None:
    """Read the printed block as a person would, and multiply."""
    text = printed("rnn:hidden=2", "-T", "12", "--factors", "-v")
    block = text[text.index("by hand:") :].splitlines()[1:]
    held: dict[str, list[list[float]]] = {}
    name = ""
    for line in block:
        if line.startswith("article"):
            break
        words = line.split()
        if words[0].startswith(("length", "mean", "spectral")):
            continue
        if not line.startswith(" "):
            name, words = words[0], words[1:]
            held[name] = []
        held[name].append([float(word) for word in words])
    dloss_dy = np.concatenate([np.array(row) for row in held["dL/dy"]])
    W, W_hy, h_9 = np.array(held["W"]), np.array(held["W_hy"]), np.array(held["h_9"][0])
    slopes = {j: np.array(held[f"phi'_{j}"][0]) for j in (12, 11, 10)}
    assert np.array(held["W^2"]) == pytest.approx(W @ W, abs=1e-4)
    article = np.linalg.norm(dloss_dy) * np.linalg.norm(W_hy, 2) * slopes[12].mean() * slopes[11].mean()
    article *= np.linalg.norm(W @ W, 2) * np.linalg.norm(h_9)
    delta = slopes[12] * (W_hy.T @ dloss_dy)
    for j in (11, 10):
        delta = slopes[j] * (W.T @ delta)
    truth = np.linalg.norm(np.outer(delta, h_9))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("  2 ") and "kill" in line]
    assert [float(word) for word in row[6:9]] == pytest.approx(
        np.log10([article, article * slopes[10].mean(), truth]), abs=6e-4
    )


def test_the_exact_zero_of_the_oldest_copy_is_explained_and_a_factor_is_named() -> None:
    text = printed("rnn:hidden=5,bias=3", "-T", "10", "--factors")
    assert "h_0 = 0" in text
    assert "the slopes take" in text
    assert "h_0 = 0" not in printed("rnn:hidden=5", "-T", "10", "--factors", "--state", "normal")
    grows = printed("rnn:hidden=5,activation=identity,gain=3", "-T", "10", "--factors")
    assert "W^k gives" in grows
    assert "slopes kill" not in grows


def test_the_copy_at_the_wrong_step_would_be_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The planted error: h_i in place of h_{i−1}."""
    previous = module._previous_lengths
    monkeypatch.setattr(module, "_previous_lengths", lambda trajectory: np.roll(previous(trajectory), 1, axis=0))
    with pytest.raises(AssertionError):
        test_every_factor_and_the_truth(4, 3, 5, "tanh")
