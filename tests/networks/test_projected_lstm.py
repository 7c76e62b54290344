"""nn.LSTM(proj_size=P): read from PyTorch's names; equal to the lstm without projection whose W_hh is W_hh·W_hr."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.cells.lstm import Lstm
from gradscope.cells.lstm_projected import LstmProjected
from gradscope.errors import InputError, ShapeError

P, H, WIDTH = 2, 5, 3


def state_dict(rng, *, layers=1, bidirectional=False, prefix="net.rnn.", n=H, p=P):
    arrays, width = {}, WIDTH
    for layer in range(layers):
        for end in ("", "_reverse") if bidirectional else ("",):
            shapes = {"weight_ih": (4 * n, width), "weight_hh": (4 * n, p), "bias_ih": (4 * n,), "bias_hh": (4 * n,)}
            for kind, shape in {**shapes, "weight_hr": (p, n)}.items():
                arrays[f"{prefix}{kind}_l{layer}{end}"] = rng.normal(size=shape) / 2
        width = 2 * p if bidirectional else p
    return arrays


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_it_is_the_plain_lstm_in_the_units_own_terms(rng):
    """In (m, c), h = W_hr m, the step Jacobian is that of an lstm with W_hh W_hr; both products agree at every lag."""
    U, W, b, R = (rng.normal(size=shape) / 2 for shape in [(4 * H, WIDTH), (4 * H, P), (4 * H,), (P, H)])
    projected, plain = LstmProjected(U, W, b, weight_hr=R), Lstm(U, W @ R, b)
    m, c, x = np.zeros((1, H)), rng.normal(size=(1, H)), rng.normal(size=(9, 1, WIDTH))
    s, t = np.concatenate([m @ R.T, c], axis=-1), np.concatenate([m, c], axis=-1)
    A, B = np.eye(P + H), np.eye(2 * H)
    down = np.block([[R, np.zeros((P, H))], [np.zeros((H, H)), np.eye(H)]])
    for step in x:
        A = projected.linearise(s, projected.drive(step)).jacobian.push(A[None])[0]
        B = plain.linearise(t, plain.drive(step)).jacobian.push(B[None])[0]
        s, t = projected.step(s, projected.drive(step)), plain.step(t, plain.drive(step))
        np.testing.assert_allclose(s[0], down @ t[0], rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(A @ down, down @ B, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.concatenate(list(projected.square_blocks().values())), W @ R, rtol=1e-14, atol=1e-16)


def test_what_a_file_says(tmp_path, rng):
    np.savez(tmp_path / "w.npz", **state_dict(rng, layers=2, bidirectional=True), **{"net.fc.weight": np.ones((7, 4))})
    row = gradscope.inspect(str(tmp_path / "w.npz")).results[0].rows[3]
    assert (row["cell"], row["hidden_size"], row["proj_size"], row["input_size"]) == ("lstm-projected", H, P, 2 * P)
    assert row["parameters"][-1] == "net.rnn.weight_hr_l1_reverse"
    report = gradscope.gradients(str(tmp_path / "w.npz"), steps=12)
    assert [result.source["state_size"] for result in report.results] == [P + H] * 4
    for result in report.results:
        assert result.source["hidden"] == H
        assert result.summary["bound_violations"] == 0
        assert result.settings["readout"] is not None
        assert not any("assumed" in sentence or "read as" in sentence for sentence in result.warnings)
    spectrum = gradscope.spectrum(f"{tmp_path / 'w.npz'}:layer=0,direction=forward")
    assert {row["n"] for row in spectrum.results[0].rows} == {H}
    assert any("W_g·W_hr" in sentence for sentence in spectrum.results[0].warnings)
    # The rank of W_g W_hr is P at most: all other eigenvalues are 0.
    moduli = [np.hypot(*pair) for pair in spectrum.results[0].rows[0]["eigenvalues"]]
    assert max(moduli[P:]) < 1e-7 < moduli[0]


def test_the_state_is_h_of_p_numbers_and_c_of_h(tmp_path, rng):
    np.savez(tmp_path / "w.npz", **state_dict(rng))
    np.save(tmp_path / "s.npy", np.arange(P + H) / 10)
    report = gradscope.gradients(str(tmp_path / "w.npz"), steps=3, state=str(tmp_path / "s.npy"), loss="none")
    assert report.results[0].rows[0]["log10_norm"] == 0
    np.save(tmp_path / "s.npy", np.zeros(2 * H))
    with pytest.raises(gradscope.errors.GradscopeError, match=rf"wanted \({P + H},\)"):
        gradscope.gradients(str(tmp_path / "w.npz"), steps=3, state=str(tmp_path / "s.npy"))


def test_edits_of_a_file(tmp_path, rng):
    """forget_bias reaches the rows of f, H wide; gain the recurrent matrix alone."""
    arrays = state_dict(rng)
    np.savez(tmp_path / "w.npz", **arrays)
    arrays["net.rnn.bias_ih_l0"][H : 2 * H] += 2.0
    arrays["net.rnn.weight_hh_l0"] *= 1.5
    np.savez(tmp_path / "edited.npz", **arrays)
    found, truth = (
        [row["log10_norm"] for row in gradscope.gradients(str(tmp_path / name), steps=9, loss="none").results[0].rows]
        for name in ("w.npz:forget_bias=2,gain=1.5", "edited.npz")
    )
    np.testing.assert_allclose(found, truth, atol=1e-13)


def test_what_cannot_be(tmp_path, rng):
    with pytest.raises(ShapeError, match=r"weight_hr is \(projected, units\) = \(2, 5\)"):
        LstmProjected(np.zeros((20, 3)), np.zeros((20, 2)), np.zeros(20))
    arrays = state_dict(rng, layers=2)
    del arrays["net.rnn.weight_hr_l1"]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=r"gate blocks|projects one layer|should have G·H rows"):
        gradscope.gradients(str(tmp_path / "w.npz"))
    np.savez(
        tmp_path / "w.npz",
        **{
            f"rnn.{k}": v
            for k, v in {
                "weight_ih": np.ones((6, 3)),
                "weight_hh": np.ones((6, 1)),
                "weight_hr": np.ones((1, 2)),
            }.items()
        },
    )
    with pytest.raises(InputError, match=r"'rnn\.weight_hr' is the projection of an lstm, which gru is not"):
        gradscope.gradients(str(tmp_path / "w.npz"))
    arrays = state_dict(rng)
    for kind in ("ih", "hh"):
        arrays[f"net.rnn.weight_{kind}_l0"] = arrays[f"net.rnn.weight_{kind}_l0"][:-1]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=r"should be a projection \(P, H\)"):
        gradscope.gradients(str(tmp_path / "w.npz"))


@pytest.mark.torch
@pytest.mark.parametrize("layers", [1, 2])
def test_against_torch(tmp_path, layers):
    """Outputs, ∂s_T/∂s_0 and every parameter's gradient of nn.LSTM(proj_size=2), by autograd."""
    torch = pytest.importorskip("torch")
    from gradscope.analysis.cases import cases_of
    from gradscope.analysis.request import RunRequest
    from gradscope.networks.parameter_gradients import measure_parameter_gradients
    from gradscope.sources.build import build_source
    from gradscope.sources.spec import parse_source

    torch.manual_seed(5)
    module = torch.nn.LSTM(WIDTH, H, num_layers=layers, proj_size=P).double()
    torch.save(module.state_dict(), tmp_path / "w.pt")
    x = np.random.default_rng(3).normal(size=(10, 1, WIDTH))
    np.save(tmp_path / "x.npy", x[:, 0])
    source = build_source(parse_source(str(tmp_path / "w.pt")), seed=0)
    (case,) = cases_of(source, RunRequest(inputs=str(tmp_path / "x.npy")))
    n = layers * (P + H)

    def run(s):
        parts = s.reshape(layers, P + H)
        start = (parts[:, None, :P].contiguous(), parts[:, None, P:].contiguous())
        out, (h, c) = module(torch.tensor(x), start)
        return out, torch.cat([h[:, 0], c[:, 0]], dim=1).reshape(-1)

    zero = torch.zeros(n, dtype=torch.float64)
    np.testing.assert_allclose(case.tape.state(10)[0], run(zero)[1].detach().numpy(), rtol=1e-12, atol=1e-15)
    truth = torch.autograd.functional.jacobian(lambda s: run(s)[1], zero).numpy()
    product = np.eye(n)[None]
    for t in range(10, 0, -1):
        product = case.tape.pull(t, product)
    assert np.max(np.abs(product[0] - truth)) <= 1e-10 * np.linalg.norm(truth, 2)
    v = np.linspace(-1, 1, P)
    loss = (run(zero)[0][-1, 0] * torch.tensor(v)).sum()
    loss.backward()
    direct = np.zeros((1, n))
    direct[0, case.network.output_components] = v
    found = measure_parameter_gradients(case.tape, lambda t: direct if t == 10 else None)
    assert set(found.names) == {name for name, _ in module.named_parameters()}
    for name, value in zip(found.names, found.values, strict=True):
        expected = module.get_parameter(name).grad.numpy()
        got = np.ldexp(value[0], int(found.exponent[0])).reshape(expected.shape)
        assert np.max(np.abs(got - expected)) <= 1e-10 * max(np.max(np.abs(expected)), 1e-300), name
