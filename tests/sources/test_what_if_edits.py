"""``forget_bias=`` and ``gain=`` of a file: the numbers of the file edited by hand, and said to be edited."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

import gradscope
from gradscope.cli.group import cli
from gradscope.errors import UsageError

H = 3


def arrays_of(cell, layers=1, both=False, bias=True, seed=0):
    rng = np.random.default_rng(seed)
    rows = {"rnn": 1, "lstm": 4, "gru": 3, "forget-gate": 2, "input-gate": 3}[cell] * H
    out = {}
    for layer in range(layers):
        width = 2 if layer == 0 else H * (1 + both)
        for ending in ("", "_reverse")[: 1 + both]:
            out[f"weight_ih_l{layer}{ending}"] = rng.normal(size=(rows, width))
            out[f"weight_hh_l{layer}{ending}"] = rng.normal(size=(rows, H))
            if bias:
                out[f"bias_ih_l{layer}{ending}"] = rng.normal(size=rows)
                out[f"bias_hh_l{layer}{ending}"] = rng.normal(size=rows)
    return out


#: Rows of the gate that keeps the old state.
KEEPING = {"lstm": 1, "gru": 1, "forget-gate": 0, "input-gate": 1}


def edited_by_hand(arrays, cell, forget_bias, gain, only=lambda name: True):
    gate = KEEPING[cell]
    out = {name: values.copy() for name, values in arrays.items()}
    for name in [name for name in arrays if name.startswith("weight_hh") and only(name)]:
        out[name] *= gain
        bias = out.setdefault(name.replace("weight", "bias"), np.zeros(len(out[name])))
        out.setdefault(name.replace("weight_hh", "bias_ih"), np.zeros(len(out[name])))
        bias[gate * H : (gate + 1) * H] += forget_bias
    return out


@pytest.fixture
def save(tmp_path):
    def saved(arrays, name="w.npz"):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return saved


def measured(source, **options):
    return [result.columns["log10_norm"] for result in gradscope.gradients(str(source), steps=20, **options).results]


def check_alike(edited, by_hand):
    assert len(edited) == len(by_hand)
    for found, truth in zip(edited, by_hand, strict=True):
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", KEEPING)
@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_are_those_of_the_file_edited_by_hand(cell, bias, save):
    arrays = arrays_of(cell, layers=2, bias=bias)
    keys = f":cell={cell}"
    edited = measured(f"{save(arrays)}{keys},forget_bias=1.25,gain=0.75")
    check_alike(edited, measured(f"{save(edited_by_hand(arrays, cell, 1.25, 0.75), 'hand.npz')}{keys}"))
    assert not np.allclose(edited[0], measured(f"{save(arrays)}{keys}")[0], atol=1e-3)


def test_memory_gets_longer(save):
    """z of a gru keeps: a large bias on it holds the norm near 1."""
    for cell in ("lstm", "gru"):
        (norms,) = measured(f"{save(arrays_of(cell))}:forget_bias=40,gain=0")
        assert norms[-1] > -1e-6


def test_a_gain_for_cells_without_a_gate_and_for_a_matrix(save, tmp_path):
    arrays = arrays_of("rnn")
    halved = {**arrays, "weight_hh_l0": arrays["weight_hh_l0"] / 2}
    check_alike(measured(f"{save(arrays)}:gain=0.5"), measured(save(halved, "hand.npz")))
    W = np.random.default_rng(1).normal(size=(4, 4))
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "half.npy", W / 2)
    check_alike(
        measured(f"{tmp_path / 'W.npy'}:activation=identity,gain=0.5"),
        measured(f"{tmp_path / 'half.npy'}:activation=identity"),
    )


def test_only_what_is_selected_is_edited(save):
    arrays = arrays_of("lstm", layers=2, both=True)
    path = save(arrays)
    edited = measured(f"{path}:forget_bias=2")
    check_alike(edited, measured(save(edited_by_hand(arrays, "lstm", 2, 1), "all.npz")))
    forward = edited_by_hand(arrays, "lstm", 2, 1, lambda name: not name.endswith("_reverse"))
    check_alike(
        measured(f"{path}:forget_bias=2,direction=forward"),
        measured(f"{save(forward, 'forward.npz')}:direction=forward"),
    )
    one = arrays_of("lstm", layers=2)
    top = edited_by_hand(one, "lstm", 2, 1, lambda name: "_l1" in name)
    check_alike(measured(f"{save(one)}:forget_bias=2,layer=1"), measured(f"{save(top, 'top.npz')}:layer=1"))


def test_an_encoder_decoder_is_edited_on_both_sides(save):
    def model(edit):
        rng, parts = np.random.default_rng(3), {}
        for part, seed in (("encoder", 0), ("decoder", 1)):
            arrays = arrays_of("lstm", seed=seed)
            for name, values in (edited_by_hand(arrays, "lstm", 1.5, 0.5) if edit else arrays).items():
                parts[f"{part}.{name}"] = values
        parts |= {"head.weight": rng.normal(size=(5, H)), "embedding.weight": rng.normal(size=(5, 2))}
        return parts

    edited = measured(f"{save(model(False))}:cell=seq2seq,forget_bias=1.5,gain=0.5")
    check_alike(edited, measured(f"{save(model(True), 'hand.npz')}:cell=seq2seq"))


def test_what_is_edited_is_said(save):
    path = save(arrays_of("lstm"))
    plain, edited, none = (
        gradscope.gradients(f"{path}{keys}", steps=5).results[0]
        for keys in ("", ":forget_bias=1,gain=0.5", ":forget_bias=0,gain=1")
    )
    assert edited.settings["edits"] == {"forget_bias": 1.0, "gain": 0.5}
    assert edited.source["name"] == "w.npz:forget_bias=1,gain=0.5"
    assert edited.source["sha256"] != plain.source["sha256"]
    assert len(edited.source["sha256"]) == 64
    for result in (plain, none):
        assert "edits" not in result.settings
        assert result.source["sha256"] == plain.source["sha256"]
    for verb in (gradscope.spectrum, gradscope.lyapunov):
        result = verb(f"{path}:gain=0.5").results[0]
        assert result.settings["edits"] == {"gain": 0.5}
        assert result.source["sha256"] not in (plain.source["sha256"], edited.source["sha256"])


def test_inspect_says_it(save):
    path = save(arrays_of("gru", layers=2))
    result = gradscope.inspect(f"{path}:forget_bias=1,gain=0.5").results[0]
    assert result.settings["edits"] == {"forget_bias": 1.0, "gain": 0.5}
    assert any("edited, not as in the file: +1 on the bias of gate z and W_hh times 0.5" in w for w in result.warnings)
    assert result.source["sha256"] == gradscope.gradients(f"{path}:forget_bias=1,gain=0.5").results[0].source["sha256"]
    assert not any("edited" in warning for warning in gradscope.inspect(str(path)).results[0].warnings)
    several = {f"{part}.{name}": v for part in ("a", "b") for name, v in arrays_of("lstm").items()}
    asked = gradscope.inspect(f"{save(several)}:gain=2").results[0]
    assert any("the module that param= picks: edited" in warning for warning in asked.warnings)
    assert asked.n_rows == 2


def test_a_sweep_over_edits(save):
    path = save(arrays_of("lstm"))
    result = gradscope.sweep(str(path), vary=["forget_bias=0:3:1"], steps=20, jobs=1).results[0]
    assert list(result.columns["forget_bias"]) == [0.0, 1.0, 2.0, 3.0]
    assert set(result.columns["status"]) == {"ok"}
    rates = result.columns["log10_rate"]
    assert len(set(rates)) == 4
    for bias, rate in zip((0, 3), (rates[0], rates[3]), strict=True):
        alone = gradscope.gradients(f"{path}:forget_bias={bias}", steps=20, loss="none").results[0]
        assert alone.summary["log10_rate"] == rate


def test_a_diff_of_the_file_and_its_edit(save, tmp_path):
    path = save(arrays_of("lstm"))
    for keys, name in (("", "base.json"), (":forget_bias=2", "new.json")):
        run = CliRunner().invoke(cli, ["gradients", f"{path}{keys}", "-T", "20", "-o", str(tmp_path / name)])
        assert run.exit_code == 0, run.output
    run = CliRunner().invoke(cli, ["diff", str(tmp_path / "base.json"), str(tmp_path / "new.json"), "--json"])
    assert run.exit_code == 0, run.output
    assert '"forget_bias": 2.0' in run.output


@pytest.mark.parametrize("verb", ["gradients", "inspect"])
def test_nothing_forgets_in_a_plain_recurrence(verb, save):
    with pytest.raises(UsageError, match="gate that keeps the old state, and rnn has none"):
        getattr(gradscope, verb)(f"{save(arrays_of('rnn'))}:forget_bias=1")


def test_ready_jacobians_take_no_edit(tmp_path):
    np.save(tmp_path / "J.npy", np.ones((3, 2, 2)))
    with pytest.raises(UsageError, match="ready Jacobians, which take no keys"):
        gradscope.gradients(f"{tmp_path / 'J.npy'}:gain=2")
