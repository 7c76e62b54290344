"""``gradscope.torch.capture``: the module's weights and its real inputs, as torch itself ran them."""

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import gradscope.torch  # noqa: E402

nn = torch.nn


@pytest.fixture(autouse=True)
def _seeded():
    state = torch.get_rng_state()
    torch.manual_seed(3)
    yield
    torch.set_rng_state(state)


class Classifier(nn.Module):
    """An embedding, a recurrent layer, dropout, a head; the layer never sees the tokens themselves."""

    def __init__(self, rnn):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(11, rnn.input_size), nn.BatchNorm1d(rnn.input_size)
        self.encoder = nn.Sequential()
        self.encoder.rnn = rnn
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(rnn.hidden_size, 5)

    def forward(self, tokens):
        x = self.norm(self.drop(self.embedding(tokens)).transpose(1, 2)).transpose(1, 2)
        return self.head(self.encoder.rnn(x)[0][:, -1])


def product_norms(step, x, state):
    """log10 of the spectral norm of every product of step Jacobians, by torch alone."""
    products, P = [], None
    jacobians = []
    for x_t in x:
        jacobians.append(torch.autograd.functional.jacobian(lambda s, x_t=x_t: step(x_t, s), state))
        state = step(x_t, state)
    for J in reversed(jacobians):
        P = J if P is None else P @ J
        products.append(torch.linalg.matrix_norm(P, 2).log10().item())
    return np.array([0.0, *products])


@pytest.mark.parametrize("batch_first", [True])
def test_a_classifier_with_tokens(batch_first):
    model = Classifier(nn.GRU(4, 6, batch_first=batch_first)).double()
    tokens = torch.randint(0, 11, (1, 12))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    source, inputs = captured = gradscope.torch.capture(model, tokens)
    assert torch.equal(stream, torch.get_rng_state())
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert model.training
    assert model.drop.training
    assert captured.module == "encoder.rnn"
    assert captured.state is None
    assert isinstance(source, dict)
    assert inputs.shape == (1, 12, 4)
    report = gradscope.gradients(source, inputs=inputs, target=2)
    cell = nn.GRUCell(4, 6).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in model.encoder.rnn.state_dict().items()})
    wanted = product_norms(lambda x, h: cell(x[None], h[None])[0], torch.tensor(inputs[0]), torch.zeros(6).double())
    result = report.results[0]
    np.testing.assert_allclose(result.columns["log10_norm"], wanted, rtol=0, atol=1e-10)
    assert result.settings["readout"] == "head (5, 6)"  # the model's own, and so the loss columns
    assert not [w for w in result.warnings if "generated input" in w]
    for verb in (gradscope.spectrum, gradscope.lyapunov):
        assert verb(source, inputs=inputs).results


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("layout", ["time first", "batch first", "one sequence", "packed", "h0"])
def test_layouts(kind, layout):
    rnn = getattr(nn, kind)(3, 4, num_layers=2, batch_first=layout == "batch first").double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    h0 = torch.randn(2, 2, 4, dtype=torch.float64)
    state = (h0, h0.flip(0)) if kind == "LSTM" else h0
    arguments = {
        "time first": x,
        "batch first": x.transpose(0, 1),
        "one sequence": x[:, 0],
        "packed": nn.utils.rnn.pack_padded_sequence(x, [7, 7]),
        "h0": (x, state),
    }[layout]
    source, inputs = captured = gradscope.torch.capture(rnn, (arguments,) if layout == "packed" else arguments)
    rows = 1 if layout == "one sequence" else 2
    np.testing.assert_array_equal(inputs, x.numpy().swapaxes(0, 1)[:rows])
    given = {} if captured.state is None else {"state": captured.state}
    assert (captured.state is None) == (layout != "h0")
    found = gradscope.gradients(source, inputs=inputs, loss="none", **given).results[0]

    cells = [getattr(nn, f"{kind}Cell")(n, 4).double() for n in (3, 4)]
    for layer, cell in enumerate(cells):
        cell.load_state_dict({name: getattr(rnn, f"{name}_l{layer}").data for name in cell.state_dict()})

    def step(x, s):
        out = []
        for cell, part in zip(cells, s.split(len(s) // 2), strict=True):
            new = cell(x[None], tuple(p[None] for p in part.split(4)) if kind == "LSTM" else part[None])
            new = [p[0] for p in (new if kind == "LSTM" else [new])]
            out += new
            x = new[0]
        return torch.cat(out)

    norms = []
    for row in range(rows):
        s0 = torch.zeros(8 if kind != "LSTM" else 16, dtype=torch.float64)
        if layout == "h0":
            s0 = torch.cat([part[layer, row] for layer in (0, 1) for part in (state if kind == "LSTM" else [h0])])
        norms.append(product_norms(step, torch.tensor(inputs[row]), s0))
    np.testing.assert_allclose(found.columns["log10_norm"], np.mean(norms, axis=0), rtol=0, atol=1e-10)


def test_relu_is_said():
    source, inputs = gradscope.torch.capture(nn.RNN(3, 4, nonlinearity="relu"), torch.randn(9, 3))
    assert source[1] == "activation=relu"
    report = gradscope.gradients(source, inputs=inputs, loss="none")
    assert report.results[0].summary["bound_violations"] == 0
    assert not any("tanh" in warning for warning in report.results[0].warnings)


def test_parametrised_weights_are_what_they_are_used_as():
    rnn = nn.LSTM(3, 4)
    nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0")
    with torch.no_grad():
        rnn.parametrizations.weight_hh_l0.original0.mul_(2)
    source, _ = gradscope.torch.capture(rnn, torch.randn(5, 3))
    np.testing.assert_allclose(source["weight_hh_l0"], rnn.weight_hh_l0.detach(), rtol=1e-6)
    assert len(source) == 4


class Loop(nn.Module):
    """A cell in a loop, and a second one that nobody asked for."""

    def __init__(self):
        super().__init__()
        self.cell, self.other = nn.LSTMCell(3, 4), nn.GRUCell(4, 4)

    def forward(self, x):
        state, h = None, x.new_zeros(x.shape[1], 4)
        for x_t in x:
            state = self.cell(x_t, state)
            h = self.other(state[0], h)
        return h


def test_cells_in_a_loop_are_one_sequence():
    model, x = Loop(), torch.randn(6, 2, 3)
    with pytest.raises(InputError, match=r"module='cell' \(LSTMCell 3→4\), module='other'"):
        gradscope.torch.capture(model, x)
    source, inputs = gradscope.torch.capture(model, x, module="cell")
    np.testing.assert_allclose(inputs, x.numpy().swapaxes(0, 1))
    assert gradscope.gradients(source, inputs=inputs, loss="none").results[0].source["cell"] == "lstm"


def test_unequal_lengths_keep_the_longest():
    x = nn.utils.rnn.pack_sequence([torch.randn(n, 3) for n in (5, 5, 2)])
    with pytest.warns(UserWarning, match="2 of 3 sequences are as long as the longest"):
        captured = gradscope.torch.capture(nn.GRU(3, 4), (x,))
    assert captured[1].shape == (2, 5, 3)
    assert captured.lengths.tolist() == [5, 5, 2]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        return self.rnn(x)[0] + self.rnn(x.flip(0))[0]


class OwnForward(nn.LSTM):
    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


def test_questions():
    x = torch.randn(5, 2, 3)
    with pytest.raises(InputError, match="called 2 times"):
        gradscope.torch.capture(Twice(), x)
    _, inputs = gradscope.torch.capture(Twice(), x, call=1)
    np.testing.assert_array_equal(inputs, x.flip(0).numpy().swapaxes(0, 1))
    with pytest.raises(InputError, match=r"gradscope\.torch\.measure"):
        gradscope.torch.capture(nn.Linear(3, 3), x)
    with pytest.raises(InputError, match="forward of its own"):
        gradscope.torch.capture(OwnForward(3, 4), x)
    with pytest.raises(UsageError, match="Did you mean 'rnn'"):
        gradscope.torch.capture(Twice(), x, module="rn")
    with pytest.raises(UsageError, match="without targets"):
        gradscope.torch.capture(Twice(), (x, x, x))
