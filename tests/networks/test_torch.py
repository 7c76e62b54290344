"""Against torch autograd: nn.RNN, nn.LSTM, nn.GRU, stacked, bidirectional, layer-normalised cells written out."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation
from gradscope.networks.bidirectional import layer_output, output_input_jacobians, split_bidirectional
from gradscope.networks.layer import Layer
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import run_network
from gradscope.numerics.backprop import backpropagate
from gradscope.numerics.propagate import measure_norms

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

T, H, WIDTH, B = 12, 5, 3, 2
MODULES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
#: Per lag, relative: what measure_norms promises.
SAME = 1e-10


def module_of(name, *, layers=1, bidirectional=False, **kind):
    torch.manual_seed(3)
    module = getattr(torch.nn, MODULES[name])(WIDTH, H, num_layers=layers, bidirectional=bidirectional, **kind).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.7)
    return module


def cell_of(module, name, suffix, **settings):
    arrays = (
        getattr(module, f"{key}_{suffix}").detach().numpy() for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return CELLS[name].from_layer(*arrays, **settings)


def inputs():
    return np.random.default_rng(1).normal(size=(T, B, WIDTH))


def state_of(s, name, layers):
    """[h1; c1; h2; …] of one sample as torch wants it."""
    parts = s.reshape(layers, -1, 1, H)
    return (parts[:, 0], parts[:, 1]) if name == "lstm" else parts[:, 0]


def joined(state, name):
    return torch.stack([*state], dim=1).reshape(-1) if name == "lstm" else state.reshape(-1)


def jacobian_of_the_rest(advance, trajectory, sample, start):
    """∂s_T/∂s_start by autograd, rerunning steps start + 1 … T."""
    s = torch.tensor(trajectory.state(start)[sample])
    return torch.autograd.functional.jacobian(lambda v: advance(v, start, sample), s).numpy()


def check_every_lag(network, advance, given_inputs, x):
    tape = run_network(network, given_inputs(x), np.random.default_rng(2).normal(size=(B, network.state_size)) / 2)
    norms = 10.0 ** measure_norms(tape).log10_norm
    for sample in range(B):
        P = np.eye(network.state_size)
        for lag in range(1, T + 1):
            P = tape.pull(T - lag + 1, np.broadcast_to(P, (B, *P.shape)))[sample]
            truth = jacobian_of_the_rest(advance, tape, sample, T - lag)
            size = np.linalg.norm(truth, 2)
            assert np.max(np.abs(P - truth)) <= SAME * size
            # Dead relu units can make a product exactly zero: null here, 0 in torch.
            assert np.isnan(norms[lag, sample]) if size == 0 else norms[lag, sample] == pytest.approx(size, rel=SAME)


@pytest.mark.parametrize("name", sorted(MODULES))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_states_and_jacobians_of_stacks(name, layers, given_inputs):
    module = module_of(name, layers=layers)
    cells = tuple(cell_of(module, name, f"l{k}") for k in range(layers))
    network = Layer(cells[0]) if layers == 1 else Stack(cells)
    x = inputs()

    def advance(s, start, sample):
        rest = torch.tensor(x[start:, sample : sample + 1])
        return joined(module(rest, state_of(s, name, layers))[1], name)

    check_every_lag(network, advance, given_inputs, x)


def test_a_relu_rnn(given_inputs):
    module, x = module_of("rnn", nonlinearity="relu"), inputs()

    def advance(s, start, sample):
        return module(torch.tensor(x[start:, sample : sample + 1]), s.reshape(1, 1, H))[1].reshape(-1)

    check_every_lag(Layer(cell_of(module, "rnn", "l0", activation=find_activation("relu"))), advance, given_inputs, x)


def written_out(name, cell):
    """One layer-normalised step, in torch's own layer_norm."""
    U, W, b = (torch.tensor(np.asarray(a)) for a in (cell.weight_ih, cell.weight_hh, cell.bias))

    def norm(p):
        return torch.nn.functional.layer_norm(p, (H,))

    def step(s, x):
        h = s[:H]
        p = [
            U[g * H : (g + 1) * H] @ x + W[g * H : (g + 1) * H] @ h + b[g * H : (g + 1) * H]
            for g in range(len(cell.gates))
        ]
        if name == "rnn":
            return torch.tanh(norm(p[0]))
        if name == "lstm":
            i, f, g, o = map(norm, p)
            c = torch.sigmoid(f) * s[H:] + torch.sigmoid(i) * torch.tanh(g)
            return torch.cat([torch.sigmoid(o) * torch.tanh(c), c])
        r, z = torch.sigmoid(norm(p[0])), torch.sigmoid(norm(p[1]))
        product = W[2 * H :] @ h
        p_n = p[2] - product + r * (product + torch.tensor(cell.bias_recurrent))
        return (1 - z) * torch.tanh(norm(p_n)) + z * h

    return step


@pytest.mark.parametrize("name", sorted(MODULES))
def test_layer_normalised_cells_written_out(name, given_inputs):
    cell = cell_of(module_of(name), name, "l0", norm="layer")
    step, x = written_out(name, cell), inputs()

    def advance(s, start, sample):
        for t in range(start, T):
            s = step(s, torch.tensor(x[t, sample]))
        return s

    check_every_lag(Layer(cell), advance, given_inputs, x)


@pytest.mark.parametrize("name", sorted(MODULES))
@pytest.mark.parametrize("layers", [1, 2])
def test_bidirectional_outputs_by_every_input(name, layers):
    module, x = module_of(name, layers=layers, bidirectional=True), inputs()[:6]
    pairs = [(cell_of(module, name, f"l{k}"), cell_of(module, name, f"l{k}_reverse")) for k in range(layers)]
    parts = split_bidirectional(pairs, x)
    out, last = module(torch.tensor(x))
    np.testing.assert_allclose(layer_output(parts[-2], parts[-1]), out.detach().numpy(), rtol=0, atol=1e-13)
    finals = (last[0] if name == "lstm" else last).detach().numpy()
    for part, final in zip(parts, finals, strict=True):
        np.testing.assert_allclose(part.states[-1][:, :H], final, rtol=0, atol=1e-13)
    truth = torch.autograd.functional.jacobian(lambda v: module(v)[0], torch.tensor(x)).numpy()
    found = output_input_jacobians(pairs, x)
    for sample in range(B):
        # torch: (t, sample, row, j, sample, column); here (t, j, sample, row, column).
        own = truth[:, sample, :, :, sample].transpose(0, 2, 1, 3)
        np.testing.assert_allclose(found[:, :, sample], own, rtol=0, atol=SAME * np.abs(own).max())
        assert np.array_equal(found[:, :, sample] == 0, own == 0)


def test_loss_and_per_step_weight_gradients(given_inputs):
    """The whole gradient of nn.GRU's weight_hh is the sum of the copies'."""
    module, x = module_of("gru"), inputs()
    cell = cell_of(module, "gru", "l0")
    tape = run_network(Layer(cell), given_inputs(x), np.zeros((B, H)))
    module(torch.tensor(x))[1].sum().backward()
    total = np.zeros((3 * H, H))
    for g in backpropagate(tape, lambda t: np.ones((B, H)) if t == T else None):
        for layer in g.weights:
            for rows, columns in layer:
                total += np.einsum("bi,bj->ij", rows * 2.0 ** g.exponent[:, None], columns)
    truth = module.weight_hh_l0.grad.numpy()
    np.testing.assert_allclose(total, truth, rtol=0, atol=SAME * np.abs(truth).max())


@pytest.mark.parametrize("feedback", ["soft", "teacher"])
def test_an_encoder_decoder_with_feedback(feedback, given_inputs):
    V, S = 7, 4
    torch.manual_seed(5)
    encoder, decoder = module_of("gru"), torch.nn.GRU(WIDTH, H).double()
    head, embedding = torch.nn.Linear(H, V).double(), torch.randn(V, WIDTH, dtype=torch.float64)
    cells = cell_of(encoder, "gru", "l0"), cell_of(decoder, "gru", "l0")
    arrays = head.weight.detach().numpy(), head.bias.detach().numpy(), embedding.numpy()
    model = Seq2Seq(*cells, *arrays, feedback, temperature=0.5, start=3)
    x, target = inputs()[:, :1], np.array([2, 0, 6, 1])
    tape = run_seq2seq(model, given_inputs(x), np.zeros((1, H)), target)
    given = torch.tensor(x, requires_grad=True)
    states, h = [], torch.zeros(1, 1, H, dtype=torch.float64)
    for t in range(T):
        _, h = encoder(given[t : t + 1], h)
        h.retain_grad()
        states.append(h)
    loss, read = 0.0, embedding[3]
    for s in range(S):
        _, h = decoder(read.reshape(1, 1, WIDTH), h)
        logits = head(h.reshape(1, H))
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(target[s : s + 1]))
        read = embedding[target[s]] if feedback == "teacher" else torch.softmax(logits / 0.5, -1) @ embedding
    loss.backward()
    assert tape.loss_value()[0] == pytest.approx(float(loss.detach()), rel=1e-13)
    for g in backpropagate(tape, tape.direct_term):
        if 1 <= g.step <= T:
            truth = states[g.step - 1].grad.numpy().reshape(-1)
            found = g.vector[0] * 2.0 ** g.exponent[0]
            np.testing.assert_allclose(found, truth, rtol=0, atol=SAME * np.abs(truth).max())
