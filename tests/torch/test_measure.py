"""``gradscope.torch.measure``: autograd Jacobians of any step function against cells of our own and closed forms."""

import subprocess
import sys

import numpy as np
import pytest

import gradscope
from gradscope.errors import ShapeError, UntrustedNumbersError, UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import gradscope.torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    state = torch.get_rng_state()
    torch.manual_seed(7)
    yield
    torch.set_rng_state(state)


def columns(report, name):
    return np.asarray(report.results[0].columns[name], dtype=np.float64)


def own(cell, x, tmp_path):
    """The same cell read from a file and measured by the package's own formulas."""
    np.savez(tmp_path / "cell.npz", **{k: v.detach().double().numpy() for k, v in cell.state_dict().items()})
    np.save(tmp_path / "x.npy", x)
    return gradscope.gradients(str(tmp_path / "cell.npz"), inputs=str(tmp_path / "x.npy"), loss="none")


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("batch", [None, 3])
def test_torch_cells_against_our_own(kind, batch, tmp_path):
    cell = getattr(torch.nn, kind)(4, 6)
    x = np.random.default_rng(0).standard_normal((40, 4) if batch is None else (batch, 40, 4))
    found = gradscope.torch.measure(cell, x)
    wanted = own(cell, x, tmp_path)
    for name in ("log10_norm", "log10_norm_h", "stable_rank", "log10_path_bound"):
        np.testing.assert_allclose(columns(found, name), columns(wanted, name), rtol=0, atol=1e-10, err_msg=name)
    for name in ("horizon", "verdict", "bound_violations", "peak_lag"):
        assert found.results[0].summary[name] == wanted.results[0].summary[name]
    assert cell.weight_hh.dtype == torch.float32  # the module itself stays as it was
    assert found.results[0].settings["dtype"] == "float64"
    assert not found.results[0].warnings or all("vmap" not in w for w in found.results[0].warnings)


def test_the_given_state_counts(tmp_path):
    cell = torch.nn.LSTMCell(2, 3).double()
    x = np.random.default_rng(1).standard_normal((9, 2))
    h, c = np.random.default_rng(2).standard_normal((2, 3))
    found = gradscope.torch.measure(cell, x, (torch.tensor(h), torch.tensor(c)))
    np.savez(tmp_path / "cell.npz", **{k: v.detach().numpy() for k, v in cell.state_dict().items()})
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "s.npy", np.concatenate([h, c]))
    options = {"inputs": str(tmp_path / "x.npy"), "state": str(tmp_path / "s.npy"), "loss": "none"}
    wanted = gradscope.gradients(str(tmp_path / "cell.npz"), **options)
    np.testing.assert_allclose(columns(found, "log10_norm"), columns(wanted, "log10_norm"), rtol=0, atol=1e-10)


class MinGRU(torch.nn.Module):
    """h = (1−z)⊙h₋₁ + z⊙h̃ with z and h̃ of the input alone (Feng et al. 2024): J_t = diag(1 − z_t)."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.to_z = torch.nn.Linear(inputs, hidden)
        self.to_h = torch.nn.Linear(inputs, hidden)

    def forward(self, x, h):
        z = torch.sigmoid(self.to_z(x))
        return (1 - z) * h + z * self.to_h(x)


def test_min_gru_is_a_product_of_gates():
    step = MinGRU(3, 5).double()
    x = torch.randn(30, 3, dtype=torch.float64)
    found = columns(gradscope.torch.measure(step, x, torch.zeros(5)), "log10_norm")
    keeps = (1 - torch.sigmoid(step.to_z(x))).detach().numpy()
    for lag in range(31):
        product = np.log10(keeps[30 - lag :]).sum(axis=0).max()
        assert found[lag] == pytest.approx(product, abs=1e-10)


def test_a_nested_complex_state():
    """A diagonal linear recurrence λ over complex numbers (LRU) beside a real integrator, in a dictionary."""
    radius = torch.tensor([0.9, 0.5], dtype=torch.float64)
    lam = torch.polar(radius, torch.tensor([0.3, 2.0], dtype=torch.float64))

    def step(x, state):
        return {"lru": lam * state["lru"] + x[0], "sum": [0.99 * state["sum"][0] + x]}

    state = {"lru": torch.zeros(2, dtype=torch.complex128), "sum": [torch.zeros(1)]}
    report = gradscope.torch.measure(step, torch.randn(20, 1, dtype=torch.float64), state)
    np.testing.assert_allclose(columns(report, "log10_norm"), np.arange(21) * np.log10(0.99), rtol=0, atol=1e-10)
    assert report.results[0].source["state_size"] == 5
    assert np.isnan(columns(report, "log10_norm_h")).all()
    only = gradscope.torch.measure(step, torch.randn(20, 1, dtype=torch.float64), state, visible=0)
    np.testing.assert_allclose(columns(only, "log10_norm_h"), np.arange(21) * np.log10(0.9), rtol=0, atol=1e-10)


def test_a_selective_scan_step():
    """s = exp(Δ(x)·A)⊙s₋₁ + Δ(x)·B(x)·x over (batch, channels, N) states: the Jacobian is diagonal."""
    A = -torch.rand(3, 4, dtype=torch.float64)
    to_delta = torch.nn.Linear(3, 3).double()
    to_B = torch.nn.Linear(3, 4).double()

    def step(x, s):
        delta = torch.nn.functional.softplus(to_delta(x))
        return torch.exp(delta[..., None] * A) * s + (delta * x)[..., None] * to_B(x)[..., None, :]

    x = torch.randn(2, 15, 3, dtype=torch.float64)
    report = gradscope.torch.measure(step, x, torch.zeros(2, 3, 4))
    logs = (torch.nn.functional.softplus(to_delta(x))[..., None] * A).detach().numpy() / np.log(10)
    wanted = [logs[:, 15 - lag :].sum(axis=1).reshape(2, -1).max(axis=1).mean() for lag in range(16)]
    np.testing.assert_allclose(columns(report, "log10_norm"), wanted, rtol=0, atol=1e-10)


class MinLSTM(torch.nn.Module):
    """c = f′⊙c₋₁ + i′⊙c̃ with f′ = f/(f+i), i′ = i/(f+i) of the input alone (Feng et al. 2024): J_t = diag(f′_t)."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.to_gates, self.to_c = torch.nn.Linear(inputs, 2 * hidden), torch.nn.Linear(inputs, hidden)

    def keeps(self, x):
        f, i = torch.sigmoid(self.to_gates(x)).chunk(2, dim=-1)
        return f / (f + i)

    def forward(self, x, c):
        return self.keeps(x) * c + (1 - self.keeps(x)) * self.to_c(x)


def test_min_lstm_is_a_product_of_gates():
    step, x = MinLSTM(3, 5), torch.randn(2, 30, 3)
    found = columns(gradscope.torch.measure(step, x, torch.zeros(2, 5)), "log10_norm")
    keeps = step.double().keeps(x.double()).detach().numpy()
    wanted = [np.log10(keeps[:, 30 - lag :]).sum(axis=1).max(axis=1).mean() for lag in range(31)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


class OutputAndState(torch.nn.Module):
    """A cell that returns (output, state), as libraries and JAX have it."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, torch.nn.Linear(cell.hidden_size, 2)

    def forward(self, x, state=None):
        state = self.cell(x, state)
        return self.head(state[0] if isinstance(state, tuple) else state), state


@pytest.mark.parametrize("kind", ["GRUCell", "LSTMCell"])
@pytest.mark.parametrize("given", [False, True])
def test_of_output_and_state_the_state_is_taken(kind, given):
    cell, x = getattr(torch.nn, kind)(3, 4), torch.randn(2, 12, 3)
    zeros = torch.zeros(2, 4)
    state = ((zeros, zeros) if kind == "LSTMCell" else zeros) if given else None
    report = gradscope.torch.measure(OutputAndState(cell), x, state)
    wanted = gradscope.torch.measure(cell, x)
    np.testing.assert_array_equal(columns(report, "log10_norm"), columns(wanted, "log10_norm"))
    assert report.results[0].settings["dtype"] == "float64"
    assert any("(output, state)" in warning for warning in report.results[0].warnings)
    with pytest.raises(UsageError, match="cannot go on from"):
        gradscope.torch.measure(lambda x, s: (x, x) if s is None else s.no_such_thing, x)


@pytest.mark.filterwarnings("ignore")
def test_every_cell_of_torchrecurrent():
    """Against ‖∂s_T/∂s_0‖ by torch alone, in one Jacobian through all steps."""
    library = pytest.importorskip("torchrecurrent")
    names = [name for name in dir(library) if name.endswith("Cell")]
    assert len(names) == 41
    for name in names:
        inputs = 6 if name == "IntersectionRNNCell" else 4
        cell, x = getattr(library, name)(inputs, 6), torch.randn(8, inputs)
        report = gradscope.torch.measure(cell, x)
        (result,) = report.results
        assert result.summary["bound_violations"] == 0, name
        assert not any("hand-written" in warning for warning in result.warnings), name
        twin = cell.double().eval()
        decoupled = any("(output, state)" in warning for warning in result.warnings)
        start = twin(x[0].double(), None)
        leaves = [torch.zeros_like(part) for part in _flat(start[1] if decoupled else start)]

        def run(*parts, twin=twin, decoupled=decoupled, x=x):
            state = parts if len(parts) > 1 else parts[0]
            for x_t in x.double():
                state = twin(x_t, state)
                state = state[1] if decoupled else state
            return torch.cat(_flat(state))

        J = torch.cat(torch.autograd.functional.jacobian(run, tuple(leaves)), dim=1)
        wanted = torch.linalg.matrix_norm(J, 2).log10().item()
        assert columns(report, "log10_norm")[-1] == pytest.approx(wanted, abs=1e-9), name


def _flat(state):
    return list(state) if isinstance(state, tuple) else [state]


class WrongBackward(torch.autograd.Function):
    """tanh whose hand-written backward forgot the square: what torch.func cannot batch, and what is wrong."""

    @staticmethod
    def forward(ctx, a):
        out = torch.tanh(a)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        return grad * (1 - out)


class RightBackward(WrongBackward):
    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        return grad * (1 - out**2)


def test_a_wrong_hand_written_backward_is_said():
    W = torch.randn(4, 4, dtype=torch.float64) / 2
    x = torch.randn(12, 4, dtype=torch.float64)
    reports = {
        f: gradscope.torch.measure(lambda x, h, f=f: f.apply(W @ h + x), x, torch.zeros(4))
        for f in (WrongBackward, RightBackward)
    }
    plain = gradscope.torch.measure(lambda x, h: torch.tanh(W @ h + x), x, torch.zeros(4))
    np.testing.assert_allclose(
        columns(reports[RightBackward], "log10_norm"), columns(plain, "log10_norm"), rtol=0, atol=1e-10
    )
    said = {f: " ".join(report.results[0].warnings) for f, report in reports.items()}
    assert "hand-written backward" in said[WrongBackward]
    assert "hand-written backward" not in said[RightBackward]
    assert "vmap" in said[RightBackward]  # the slow road was taken, and is said
    assert "backward" not in " ".join(plain.results[0].warnings)


def test_a_float32_function_says_its_digits():
    cell = torch.nn.GRUCell(2, 3)
    report = gradscope.torch.measure(lambda x, h: cell(x, h), torch.randn(8, 2), torch.zeros(3))
    assert any("float32" in warning for warning in report.results[0].warnings)
    assert report.results[0].settings["dtype"] == "float32"


def test_dropout_is_off_and_the_module_stays_as_it_is():
    class Dropped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.drop = torch.nn.RNNCell(2, 3), torch.nn.Dropout(0.5)

        def forward(self, x, h):
            return self.drop(self.cell(x, h))

    module = Dropped()
    module.cell.eval()
    stream = torch.get_rng_state()
    gradscope.torch.measure(module, torch.zeros(5, 2), torch.zeros(3))
    assert module.training
    assert module.drop.training
    assert not module.cell.training
    assert torch.equal(stream, torch.get_rng_state())


def test_questions_that_are_wrong():
    x = torch.randn(5, 2)
    cell = torch.nn.LSTMCell(2, 3)
    with pytest.raises(ShapeError, match="nested as"):
        gradscope.torch.measure(lambda x, h: [h, torch.tanh(h)], x, torch.zeros(3))
    with pytest.raises(ShapeError, match="inputs should be"):
        gradscope.torch.measure(cell, torch.randn(5))
    with pytest.raises(ShapeError, match="int64"):
        gradscope.torch.measure(cell, x, (torch.zeros(3), torch.tensor(1)))
    with pytest.raises(UsageError, match="measure has no 'steps'"):
        gradscope.torch.measure(cell, x, steps=3)
    with pytest.raises(UsageError, match="memory="):
        gradscope.torch.measure(torch.nn.RNNCell(2, 300), x, memory="1M")
    with pytest.raises(UsageError, match="s_0"):
        gradscope.torch.measure(lambda x, h: torch.tanh(h + 1), x)
    with pytest.raises(UntrustedNumbersError, match="from step 2 on"):
        gradscope.torch.measure(lambda x, h: h * 1e200, x, torch.ones(3))
    with pytest.raises(UntrustedNumbersError, match="random"):
        gradscope.torch.measure(lambda x, h: h + torch.rand(3), x, torch.ones(3, dtype=torch.float64))
    with pytest.raises(UntrustedNumbersError, match="mixes the samples"):
        gradscope.torch.measure(lambda x, h: h - h.mean(0), torch.randn(2, 5, 2), torch.randn(2, 3))


def test_lags_need_and_formats(tmp_path):
    cell = torch.nn.LSTMCell(2, 3)
    report = gradscope.torch.measure(cell, torch.randn(30, 2), lags="0:30:10", need=20, epsilon=1e-2, name="mine")
    assert [row["lag"] for row in report.results[0].rows()] == [0, 10, 20, 30]
    summary = report.results[0].summary
    assert summary["need"] == 20
    assert summary["enough"] in (True, False)
    assert report.results[0].source["name"] == "mine"
    call = "gradscope.torch.measure(mine, inputs, lags='0:30:10', epsilon=0.01, need=20)"
    assert report.command_line == call
    from gradscope.reports.formats import write

    for name in ("table", "json", "md", "html"):
        with open(tmp_path / name, "w") as stream:
            write(report, name, stream)


def test_importing_the_room_does_not_import_torch():
    code = "import sys, gradscope.torch; assert 'torch' not in sys.modules, 'torch came too early'"
    subprocess.run([sys.executable, "-c", code], check=True)
