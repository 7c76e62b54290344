"""The snippet, run in PyTorch, makes the network that was measured; truncation and clipping are what torch does."""

import numpy as np
import pytest

import gradscope

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

STEPS, INPUTS, HIDDEN = 60, 4, 16


class Model(torch.nn.Module):
    """A recurrent module and its head."""

    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(INPUTS, HIDDEN, dtype=torch.float64, **options)
        self.head = torch.nn.Linear(HIDDEN, 3, dtype=torch.float64)

    def forward(self, x, state=None):
        output, state = self.rnn(x, state)
        return output, state


def saved(model, path):
    np.savez(path, **{name: value.numpy() for name, value in model.state_dict().items()})
    return str(path)


def made(kind, seed=0, **options):
    torch.manual_seed(seed)
    return Model(kind, **options)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=["one", "two", "both ways"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_snippet_makes_the_network_that_was_measured(tmp_path, kind, options):
    model = made(kind, **options)
    source = saved(model, tmp_path / "before.npz")
    asked = {"steps": STEPS, "loss": "none"}
    report = gradscope.advise(source, reach=40, only=("forget_bias", "gain"), **asked)
    rows = [(place, row) for place, result in enumerate(report.results) for row in result.rows()]
    assert {row["kind"] for _, row in rows} == ({"gain"} if kind == "RNN" else {"forget_bias", "gain"})
    for place, row in rows:
        model = made(kind, **options)
        exec(row["snippet"], {"model": model})
        after = gradscope.gradients(saved(model, tmp_path / "after.npz"), **asked).results[place]
        for name, key in (("horizon", "horizon"), ("horizon_censored", "horizon_censored"), ("verdict", "verdict")):
            assert row[f"after_{name}"] == after.summary[key]
        assert row["after_rate"] == pytest.approx(after.summary["log10_rate"], rel=1e-6)


def test_edits_that_are_in_the_source_are_made_too(tmp_path):
    path = saved(made("LSTM"), tmp_path / "before.npz")
    source, asked = f"{path}:forget_bias=0.5,gain=0.7", {"steps": STEPS, "loss": "none"}
    (result,) = gradscope.advise(source, reach=40, only=("forget_bias", "gain"), **asked).results
    for row in result.rows():
        model = made("LSTM")
        exec(row["snippet"], {"model": model})
        (after,) = gradscope.gradients(saved(model, tmp_path / "after.npz"), **asked).results
        assert row["after_horizon"] == after.summary["horizon"]
        assert row["after_rate"] == pytest.approx(after.summary["log10_rate"], rel=1e-6)


def test_without_a_bias_there_is_no_code_for_one(tmp_path):
    source = saved(made("LSTM", bias=False), tmp_path / "m.npz")
    (result,) = gradscope.advise(source, steps=STEPS, reach=40, loss="none", only=("forget_bias",)).results
    (row,) = result.rows()
    assert row["snippet"] is None
    assert "bias=True" in row["why"]


def loss_gradient(model, x, target, tail=None):
    """∂L/∂W_hh of the mean loss at the last step, the state detached ``tail`` steps before the end."""
    model.zero_grad()
    state = None
    if tail is not None and tail < len(x):
        with torch.no_grad():
            _, state = model(x[:-tail])
        x = x[-tail:]
    output, _ = model(x, state)
    torch.nn.functional.cross_entropy(model.head(output[-1]), target).backward()
    return model.rnn.weight_hh_l0.grad.clone()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_truncation_leaves_the_bias_that_is_stated(tmp_path, kind):
    model, batch = made(kind, seed=4), 8
    x = np.random.default_rng(1).standard_normal((batch, STEPS, INPUTS))
    np.save(tmp_path / "x.npy", x)
    (result,) = gradscope.advise(
        saved(model, tmp_path / "m.npz"), inputs=str(tmp_path / "x.npy"), reach=5, only=("tbptt",)
    ).results
    time_first = torch.from_numpy(x.swapaxes(0, 1).copy())
    target = torch.zeros(batch, dtype=torch.long)
    length, whole = result.summary["tbptt_length"], loss_gradient(model, time_first, target)
    biases = [
        float((loss_gradient(model, time_first, target, tail) - whole).norm() / whole.norm())
        for tail in (length, length - 1)
    ]
    assert result.summary["tbptt_bias"] == pytest.approx(biases[0], rel=1e-9)
    assert biases[0] <= 0.05 < biases[1]
    (row,) = result.rows()
    space = {"model": model, "x": time_first}
    exec(row["snippet"], space)
    model.zero_grad()
    torch.nn.functional.cross_entropy(model.head(space["output"][-1]), target).backward()
    got = float((model.rnn.weight_hh_l0.grad - whole).norm() / whole.norm())
    assert got == pytest.approx(biases[0], rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=["one", "two"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_clip_value_is_what_clip_grad_norm_compares(tmp_path, kind, options):
    model, batch = made(kind, seed=5, **options), 6
    x = np.random.default_rng(2).standard_normal((batch, 20, INPUTS))
    np.save(tmp_path / "x.npy", x)
    source = saved(model, tmp_path / "m.npz")
    asked = {"inputs": str(tmp_path / "x.npy"), "reach": 1, "only": ("clip",), "clip_percentile": 80}
    for size in (1, 6):
        (result,) = gradscope.advise(source, clip_batch=size, **asked).results
        norms = []
        for chosen in [[b] for b in range(batch)] if size == 1 else [list(range(batch))]:
            model.zero_grad()
            output, _ = model(torch.from_numpy(x[chosen].swapaxes(0, 1).copy()))
            torch.nn.functional.cross_entropy(model.head(output[-1]), torch.zeros(size, dtype=torch.long)).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.rnn.parameters(), 1e9)))
        assert result.summary["clip_value"] == pytest.approx(np.percentile(norms, 80), rel=1e-9)
        assert result.summary["gradient_norm_median"] == pytest.approx(np.median(norms), rel=1e-9)
        names = [f"rnn.{name}" for name, _ in model.rnn.named_parameters()]
        assert sorted(result.summary["clip_parameters"]) == sorted(names)


def test_a_name_from_a_file_stays_a_name(tmp_path):
    """A parameter's name is written as a literal: what stands in it is never run."""
    hostile = "a');import os;os.abort()#"
    rng = np.random.default_rng(0)
    arrays = {
        f"{hostile}.weight_ih_l0": rng.uniform(-0.3, 0.3, (12, 2)),
        f"{hostile}.weight_hh_l0": rng.uniform(-0.3, 0.3, (12, 3)),
        f"{hostile}.bias_ih_l0": rng.uniform(-0.3, 0.3, 12),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    (result,) = (
        gradscope.advise(str(tmp_path / "m.npz"), cell="lstm", steps=20)
        if False
        else gradscope.advise(f"{tmp_path / 'm.npz'}:cell=lstm", steps=20).results
    )
    for row in result.rows():
        if row["kind"] in ("forget_bias", "gain"):
            with pytest.raises(AttributeError):
                exec(row["snippet"], {"model": torch.nn.Linear(1, 1)})


@pytest.mark.parametrize("layers", [1, 2])
def test_both_directions_are_clipped_together(tmp_path, layers):
    """The head reads [h_T forward; h_1 backward]; clip_grad_norm_ compares the norm over all of the module."""
    torch.manual_seed(8)
    rnn = torch.nn.GRU(INPUTS, HIDDEN, num_layers=layers, bidirectional=True, dtype=torch.float64)
    head = torch.nn.Linear(2 * HIDDEN, 3, dtype=torch.float64)
    model = torch.nn.ModuleDict({"rnn": rnn, "head": head})
    x = np.random.default_rng(2).standard_normal((5, 12, INPUTS))
    np.save(tmp_path / "x.npy", x)
    source = saved(model, tmp_path / "m.npz")
    report = gradscope.advise(source, inputs=str(tmp_path / "x.npy"), reach=1, only=("clip",))
    norms = []
    for b in range(5):
        model.zero_grad()
        output, _ = rnn(torch.from_numpy(x[[b]].swapaxes(0, 1).copy()))
        read = torch.cat([output[-1, :, :HIDDEN], output[0, :, HIDDEN:]], dim=1)
        torch.nn.functional.cross_entropy(head(read), torch.zeros(1, dtype=torch.long)).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(rnn.parameters(), 1e9)))
    names = sorted(f"rnn.{name}" for name, _ in rnn.named_parameters())
    for result in report.results:
        assert result.summary["clip_value"] == pytest.approx(np.percentile(norms, 95), rel=1e-9)
        assert sorted(result.summary["clip_parameters"]) == names
        (row,) = result.rows()
        exec(row["snippet"], {"model": model})
