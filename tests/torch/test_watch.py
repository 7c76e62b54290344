"""``gradscope.torch.watch``: every ∂L/∂h_t and ∂L/∂c_t against autograd on the network unrolled by hand."""

import itertools
import json
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.reports.json_report import read_report

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")]

import gradscope.torch  # noqa: E402

nn = torch.nn
T, BATCH, INPUTS, HIDDEN = 9, 3, 4, 5


@pytest.fixture(autouse=True)
def _seeded():
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)
    torch.set_default_dtype(dtype)


def make(kind, **keys):
    if kind == "relu":
        return nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", **keys).double()
    return getattr(nn, kind)(INPUTS, HIDDEN, **keys).double()


def step(module, weights, x, h, c):
    """One step of torch's documented equations."""
    bias = weights[2:4] if module.bias else [0.0, 0.0]
    drive, recurrent = x @ weights[0].T + bias[0], h @ weights[1].T + bias[1]
    if module.mode == "GRU":
        (ar, az, an), (rr, rz, rn) = drive.chunk(3, -1), recurrent.chunk(3, -1)
        r, z = torch.sigmoid(ar + rr), torch.sigmoid(az + rz)
        return (1 - z) * torch.tanh(an + r * rn) + z * h, None
    if module.mode != "LSTM":
        return (torch.tanh if module.mode == "RNN_TANH" else torch.relu)(drive + recurrent), None
    i, f, g, o = (drive + recurrent).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    c.retain_grad()
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h @ weights[-1].T if module.proj_size else h), c


def unrolled(module, x, h0, c0, lengths=None, masks=()):
    """x time first; the outputs, the last states, and every h_t and c_t as a node with its gradient kept."""
    lengths = torch.full((x.shape[1],), len(x)) if lengths is None else torch.as_tensor(lengths)
    directions, nodes, last_h, last_c = 1 + module.bidirectional, {}, [], []
    for layer in range(module.num_layers):
        outputs = []
        for d in range(directions):
            k = layer * directions + d
            h, c = h0[k], c0[k] if module.mode == "LSTM" else None
            here = [None] * len(x)
            for t in reversed(range(len(x))) if d else range(len(x)):
                live = (t < lengths)[:, None]
                new_h, new_c = step(module, module.all_weights[k], x[t], h, c)
                new_h.retain_grad()
                nodes[layer, d, t] = (new_h, new_c)
                h = torch.where(live, new_h, h)
                c = None if c is None else torch.where(live, new_c, c)
                here[t] = torch.where(live, h, torch.zeros_like(h))
            outputs.append(torch.stack(here))
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(outputs, -1)
        if layer < len(masks):
            x = x * masks[layer]
    return x, torch.stack(last_h), None if last_c[0] is None else torch.stack(last_c), nodes


def states(module):
    layers = module.num_layers * (1 + module.bidirectional)
    return torch.randn(layers, BATCH, getattr(module, "proj_size", 0) or HIDDEN).double(), torch.randn(
        layers, BATCH, HIDDEN
    ).double()


def loss(output, h, c, seen):
    """Something curved that reads what is named in ``seen``."""
    total = 0.0
    for name, value in (("output", output), ("h", h), ("c", c)):
        if name in seen and value is not None:
            weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape)
            total = total + (torch.sin(value) * weights).sum() + (value**2).sum()
    return total


def compare(rows, nodes, module):
    """The largest difference of logs over every layer, direction and step."""
    worst = 0.0
    for row in rows:
        assert row["error"] is None, row["error"]
        d = int(row["direction"] == "backward")
        for t in range(T):
            h, c = nodes[row["layer"], d, t]
            pairs = [(row["log10_dloss_dh"][t], h.grad)]
            if module.mode == "LSTM":
                pairs.append((row["log10_dloss_dc"][t], c.grad))
            else:
                assert row["log10_dloss_dc"] is None
            for found, gradient in pairs:
                norm = 0.0 if gradient is None else gradient.norm().item()
                assert (found is None) == (norm == 0)
                if norm:
                    worst = max(worst, abs(found - np.log10(norm)))
    return worst


KINDS = [
    (kind, layers, bidirectional, proj)
    for kind, layers, bidirectional, proj in itertools.product(
        ("RNN", "relu", "LSTM", "GRU"), (1, 3), (False, True), (0, 2)
    )
    if not proj or kind == "LSTM"
]


@pytest.mark.parametrize(("kind", "layers", "bidirectional", "proj"), KINDS)
def test_exact_in_every_module(kind, layers, bidirectional, proj):
    keys = {"proj_size": proj} if proj else {}
    module = make(kind, num_layers=layers, bidirectional=bidirectional, **keys)
    x, (h0, c0) = torch.randn(T, BATCH, INPUTS).double(), states(module)
    output, h, c, nodes = unrolled(module, x, h0, c0)
    loss(output, h, c, "output h c").backward()
    with gradscope.torch.watch(module, every=1, background=False) as watched:
        output, last = module(x, (h0, c0) if kind == "LSTM" else h0)
        h, c = last if kind == "LSTM" else (last, None)
        loss(output, h, c, "output h c").backward()
    assert len(watched.rows) == layers * (1 + bidirectional)
    assert compare(watched.rows, nodes, module) <= 1e-10


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("seen", ["output", "h", "c", "output h"])
@pytest.mark.parametrize("layout", ["time first", "batch first", "one sequence", "no bias", "no h0"])
def test_exact_in_every_layout(kind, seen, layout):
    if seen == "c" and kind != "LSTM":
        pytest.skip("has no c")
    module = make(kind, num_layers=2, batch_first=layout == "batch first", bias=layout != "no bias")
    x, (h0, c0) = torch.randn(T, BATCH, INPUTS).double(), states(module)
    if layout == "one sequence":
        x, h0, c0 = x[:, :1], h0[:, :1], c0[:, :1]
    if layout == "no h0":
        h0, c0 = torch.zeros_like(h0), torch.zeros_like(c0)
    output, h, c, nodes = unrolled(module, x, h0, c0)
    loss(output, h, c, seen).backward()
    with gradscope.torch.watch(module, background=False) as watched:
        state = (h0, c0) if kind == "LSTM" else h0
        if layout == "batch first":
            output, last = module(x.transpose(0, 1), state)
            output = output.transpose(0, 1)
        elif layout == "one sequence":
            lone = tuple(part[:, 0] for part in state) if kind == "LSTM" else state[:, 0]
            output, last = module(input=x[:, 0], hx=lone)
            output = output[:, None]
            last = tuple(part[:, None] for part in last) if kind == "LSTM" else last[:, None]
        else:
            output, last = module(x) if layout == "no h0" else module(x, state)
        h, c = last if kind == "LSTM" else (last, None)
        loss(output, h, c, seen).backward()
    assert compare(watched.rows, nodes, module) <= 1e-10


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [(9, 7, 3), (4, 9, 1)], ids=["sorted", "unsorted"])
def test_exact_in_packed_batches(kind, bidirectional, lengths):
    module = make(kind, num_layers=2, bidirectional=bidirectional)
    x, (h0, c0) = torch.randn(T, BATCH, INPUTS).double(), states(module)
    output, h, c, nodes = unrolled(module, x, h0, c0, lengths)
    loss(output, h, c, "output h c").backward()
    with gradscope.torch.watch(module, background=False) as watched:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, last = module(packed, (h0, c0) if kind == "LSTM" else h0)
        output, _ = nn.utils.rnn.pad_packed_sequence(output)
        h, c = last if kind == "LSTM" else (last, None)
        loss(output, h, c, "output h c").backward()
    assert compare(watched.rows, nodes, module) <= 1e-10
    # Horizon and rate are those of the caller's first sequence, over its own steps.
    for row in watched.rows:
        alone = gradscope.torch.watch(module)
        x0, state = x[: lengths[0], :1], (h0[:, :1], c0[:, :1])
        module(x0, state if kind == "LSTM" else state[0])[0].sum().backward()
        alone.close()
        twin = next(r for r in alone.rows if (r["layer"], r["direction"]) == (row["layer"], row["direction"]))
        assert row["horizon"] == twin["horizon"]
        assert row["log10_rate"] == pytest.approx(twin["log10_rate"], abs=1e-9)
        assert len(twin["log10_dloss_dh"]) == lengths[0]


@pytest.mark.parametrize("packed", [False, True])
def test_dropout_between_layers_is_found_again(packed):
    module = make("LSTM", num_layers=3, dropout=0.4, bidirectional=True)
    lengths = (9, 9, 9)
    x, (h0, c0) = torch.randn(T, BATCH, INPUTS).double(), states(module)
    given = nn.utils.rnn.pack_padded_sequence(x, lengths) if packed else x
    with gradscope.torch.watch(module, background=False) as watched:
        torch.manual_seed(5)
        output, (h, c) = module(given, (h0, c0))
        drawn = torch.get_rng_state()
        output = nn.utils.rnn.pad_packed_sequence(output)[0] if packed else output
        loss(output, h, c, "output h c").backward()
        assert torch.equal(drawn, torch.get_rng_state())
    torch.manual_seed(5)
    shape = (T * BATCH, 2 * HIDDEN) if packed else (T, BATCH, 2 * HIDDEN)
    masks = [
        nn.functional.dropout(torch.ones(shape, dtype=torch.float64), 0.4).reshape(T, BATCH, 2 * HIDDEN)
        for _ in range(2)
    ]
    again, h, c, nodes = unrolled(module, x, h0, c0, lengths, masks)
    assert torch.allclose(output, again, atol=1e-12)
    loss(again, h, c, "output h c").backward()
    assert compare(watched.rows, nodes, module) <= 1e-10


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("seen", ["all outputs", "the last"])
@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 4, 7)], ids=["equal", "packed"])
def test_truncation_is_what_detaching_gives(kind, seen, lengths):
    """∂L/∂W_hh with the state detached every K steps from each sequence's end, by autograd on the unrolled network."""
    module = make(kind)
    with torch.no_grad():
        module.weight_hh_l0.mul_(1.8)
    x, (h0, c0) = torch.randn(T, BATCH, INPUTS).double(), states(module)

    def gradient(K):
        h, c, total = h0[0], c0[0] if kind == "LSTM" else None, 0.0
        for t in range(T):
            left = torch.as_tensor(lengths) - t  # steps from here to the end, this one counted
            cut = ((left > 0) & (left < torch.as_tensor(lengths)) & (left % K == 0))[:, None]
            h, c = (None if s is None else torch.where(cut, s.detach(), s) for s in (h, c))
            live = (left > 0)[:, None]
            new_h, new_c = step(module, module.all_weights[0], x[t], h.clone().requires_grad_(), c)
            h, c = torch.where(live, new_h, h), None if c is None else torch.where(live, new_c, c)
            total = total + (torch.where(live, h, 0.0) ** 2).sum() * (seen == "all outputs")
        total = total + torch.sin(h).sum()
        return torch.autograd.grad(total, module.weight_hh_l0)[0]

    with gradscope.torch.watch(module, truncation_bias=0.02, background=False) as watched:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, last = module(packed, (h0, c0) if kind == "LSTM" else h0)
        h = last[0] if kind == "LSTM" else last
        ((output.data**2).sum() * (seen == "all outputs") + torch.sin(h).sum()).backward()
    row = watched.rows[0]
    whole = gradient(T + 1)
    assert torch.allclose(whole, module.weight_hh_l0.grad, atol=1e-12)
    assert row["log10_dloss_dweight_total"] == pytest.approx(np.log10(whole.norm().item()), abs=1e-10)
    biases = [((gradient(K) - whole).norm() / whole.norm()).item() for K in range(1, T + 1)]
    assert row["tbptt_bias"] == pytest.approx(biases[row["tbptt_length"] - 1], abs=1e-10)
    assert row["tbptt_bias"] <= 0.02
    assert biases[row["tbptt_length"] - 2] > 0.02
    assert row["tbptt_kind"] == "chunks"


def train(watched_path, steps=7, **keys):
    """A small training in float32 with dropout; every parameter, the loss and the random streams at its end."""
    torch.manual_seed(1)
    model = nn.Module()
    model.rnn = nn.LSTM(INPUTS, 16, num_layers=2, dropout=0.3)
    model.head, model.drop = nn.Linear(16, 2), nn.Dropout(0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watched = None if watched_path is None else gradscope.torch.watch(model, every=3, path=watched_path, **keys)
    losses = []
    for _ in range(steps):
        x = torch.randn(12, 5, INPUTS)
        out = model.head(model.drop(model.rnn(x)[0][-1]))
        error = nn.functional.cross_entropy(out, torch.randint(2, (5,)))
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(error.item())
        with torch.no_grad():
            model.rnn(x)  # validation is no step of training
    if watched is not None:
        watched.close()
        watched.close()
    return model.state_dict(), losses, torch.get_rng_state(), watched


def test_not_one_bit_of_the_training_changes(tmp_path):
    before = np.random.get_state()[1].copy()  # noqa: NPY002  the stream that others draw from
    plain, watched = train(None), train(tmp_path / "run.jsonl")
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert plain[1] == watched[1]
    assert torch.equal(plain[2], watched[2])
    assert all(torch.equal(value, watched[0][name]) for name, value in plain[0].items())
    assert [row["step"] for row in watched[3].rows] == [0, 0, 3, 3, 6, 6]
    assert all(row["error"] is None for row in watched[3].rows)


def test_the_file_is_a_series(tmp_path):
    watched = train(tmp_path / "run.jsonl")[3]
    report = read_report(tmp_path / "run.jsonl")
    assert report.verb == "series"
    assert [(r.source["layer"], r.source["direction"]) for r in report.results] == [(0, "forward"), (1, "forward")]
    assert [row for result in report.results for row in result.rows()] == [
        row for layer in (0, 1) for row in watched.rows if row["layer"] == layer
    ]
    summary = report.results[0].summary
    assert summary["checkpoints"] == 3
    assert summary["failed"] == 0
    assert summary["rate_last"] == watched.rows[4]["log10_rate"]
    row = watched.rows[0]
    assert len(row["log10_dloss_dh"]) == 12
    assert set(row["gates"]) == {"i", "f", "o"}
    assert 0 < row["spectral_radius"] < 2
    assert row["bound_violations"] == 0
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", *["row"] * 6, "end"]
    import jsonschema

    from gradscope.reports.schemas import load_schema

    jsonschema.validate(report.to_dict(), load_schema("series"))


def test_a_run_that_is_there_is_not_overwritten(tmp_path):
    train(tmp_path / "run.jsonl")
    with pytest.raises(InputError, match="overwrite=True"):
        gradscope.torch.watch(nn.GRU(2, 3), path=tmp_path / "run.jsonl")
    gradscope.torch.watch(nn.GRU(2, 3), path=tmp_path / "run.jsonl", overwrite=True).close()


def test_short_reach_is_said_once(tmp_path):
    with pytest.warns(UserWarning, match="gradients reach") as said:
        train(tmp_path / "run.jsonl", need=11, epsilon=0.5)
    assert len([w for w in said if "reach" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path / "other.jsonl", need=0)
    with pytest.warns(UserWarning, match="shorter than need=50"):
        rows = train(tmp_path / "third.jsonl", need=50)[3].rows
    assert rows[0]["enough"] is None


def test_deep_vanishing_keeps_its_digits():
    """10^-900 is still a number, an exact zero is null."""
    module = make("RNN")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.weight_hh_l0.copy_(torch.eye(HIDDEN, dtype=torch.float64) * 1e-100)
    with gradscope.torch.watch(module) as watched:
        module(torch.zeros(T + 1, 1, INPUTS).double())[0][-1, 0, 0].backward()
    np.testing.assert_allclose(watched.rows[0]["log10_dloss_dh"], np.arange(-900, 1, 100), atol=1e-9)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    with gradscope.torch.watch(module) as watched:
        module(torch.zeros(3, 1, INPUTS).double())[0][-1, 0, 0].backward()
    assert watched.rows[0]["log10_dloss_dh"] == [None, None, 0.0]


def test_a_fault_is_a_row_and_the_training_goes_on():
    module = make("GRU")
    with pytest.warns(UserWarning, match="not finite"), gradscope.torch.watch(module, every=1) as watched:
        (module(torch.zeros(T, BATCH, INPUTS).double())[0] * float("inf")).sum().backward()
    assert module.weight_hh_l0.grad is not None
    assert "not finite" in watched.rows[0]["error"]
    assert watched.rows[0]["log10_dloss_dh"] is None
    assert watched.report().results[0].summary["failed"] == 1


def test_a_process_that_is_killed_costs_a_row_and_not_the_training():
    """Rows come from another process; the next step gets a new one."""
    module, x = make("GRU"), torch.randn(T, BATCH, INPUTS).double()
    ended = pytest.warns(UserWarning, match="the process that measures has ended")
    with ended, gradscope.torch.watch(module, every=1) as watched:
        for step in range(3):
            module(x)[0].sum().backward()
            assert len(watched.rows) == step + 1  # waits for what is under way
            if step == 0:
                there = watched._helper._process.pid
                assert there != os.getpid()
                os.kill(there, signal.SIGKILL)
    first, second, third = watched.rows
    assert [row["error"] is None for row in watched.rows] == [True, False, True]
    assert [row["horizon_censored"] for row in watched.rows] == [True, None, True]
    assert first["log10_dloss_dh"] == third["log10_dloss_dh"]
    assert second["log10_dloss_dh"] is None
    # Not compared with theory, so nothing is denied either.
    assert [first[name] for name in ("theory_violations", "vanishes_for_every_input")] == [None, None]


def test_a_module_that_is_not_what_it_says_is_found_out():
    """The planted error: weights that change between the pass and its gradients."""
    module = make("GRU")
    watched = gradscope.torch.watch(module)
    out = module(torch.randn(T, BATCH, INPUTS).double())[0].sum()
    module.weight_hh_l0.data.mul_(1.5)
    out.backward()
    with pytest.warns(UserWarning, match="from what the module computed"):
        watched.close()
    assert "a step of the weights" in watched.rows[0]["error"]


def test_accumulation_scaling_and_the_trainers_own_steps():
    module = make("LSTM")
    x = torch.randn(T, BATCH, INPUTS).double()

    class Scaler:
        def get_scale(self):
            return 1024.0

    seen = []
    for scaler in (None, Scaler()):
        with gradscope.torch.watch(module, every=1, step=lambda: 17, scaler=scaler) as watched:
            for part in (x, 2 * x):  # two parts of a batch, one backward each
                (module(part)[0].sum() * (1.0 if scaler is None else 1024.0)).backward()
        assert [row["step"] for row in watched.rows] == [17, 17]
        seen.append([row["log10_dloss_dh"] for row in watched.rows])
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-12)


def test_rows_come_in_order_and_are_kept_without_close(tmp_path):
    code = """
import sys, torch, gradscope.torch
torch.manual_seed(0)
module = torch.nn.GRU(4, 24)
watched = gradscope.torch.watch(module, every=1, path=sys.argv[1])
for _ in range(6):
    module(torch.randn(30, 4, 4))[0].sum().backward()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.jsonl")], check=True)
    rows = list(read_report(tmp_path / "run.jsonl").results[0].rows())
    assert [row["step"] for row in rows] == list(range(6))
    module = make("LSTM")
    found = []
    for background in (True, False):
        torch.manual_seed(2)
        with gradscope.torch.watch(module, every=2, background=background) as watched:
            for _ in range(9):
                module(torch.randn(T, BATCH, INPUTS).double())[0].sum().backward()
        found.append(watched.rows)
    assert found[0] == found[1]


def test_numpy_works_with_one_thread_while_torch_keeps_its_own(monkeypatch):
    from threadpoolctl import ThreadpoolController

    from gradscope.torch import watched_step

    def threads():
        return [lib.num_threads for lib in ThreadpoolController().select(internal_api="openblas").lib_controllers]

    before, seen, real = threads(), [], watched_step.differentiate
    monkeypatch.setattr(watched_step, "differentiate", lambda call: seen.append(threads()) or real(call))
    with gradscope.torch.watch(make("GRU"), background=False) as watched:
        torch_threads = torch.get_num_threads()
        watched._chosen(torch.randn(T, BATCH, INPUTS).double())[0].sum().backward()
        assert len(watched.rows) == 1
    assert set(seen[0]) == {1}
    assert threads() == before
    assert torch.get_num_threads() == torch_threads


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_under_autocast(kind):
    """bfloat16 inside, float32 outside: 3 digits; the lower layers are run again as they were."""
    torch.manual_seed(4)
    module, x = getattr(nn, kind)(INPUTS, 16, num_layers=2), torch.randn(20, BATCH, INPUTS)
    found = []
    for enabled in (True, False):
        with gradscope.torch.watch(module) as watched:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                total = module(x)[0].float().square().mean()
            total.backward()
        assert [row["error"] for row in watched.rows] == [None, None]
        found.append([row["log10_dloss_dh"] for row in watched.rows])
    np.testing.assert_allclose(found[0], found[1], atol=0.02)
    assert found[0] != found[1]


def test_two_passes_before_one_backward():
    module = make("GRU")
    x = torch.randn(T, BATCH, INPUTS).double()
    with gradscope.torch.watch(module, every=1) as watched:
        (module(x)[0].sum() + 3 * module(x)[0].sum()).backward()
        total = module(x)[0].sum()
        total.backward(retain_graph=True)
        total.backward()
    found = {row["step"]: row["log10_dloss_dh"] for row in watched.rows}
    np.testing.assert_allclose(np.subtract(found[1], found[0]), np.log10(3), atol=1e-12)
    assert len(watched.rows) == 3


def test_a_compiled_model():
    model = nn.Sequential()
    model.rnn = nn.GRU(INPUTS, HIDDEN)
    wrapped = type("Model", (nn.Module,), {"forward": lambda self, x: self.model.rnn(x)[0] * 2})()
    wrapped.model = model
    with gradscope.torch.watch(wrapped, every=1) as watched:
        compiled = torch.compile(wrapped, backend="eager")
        compiled(torch.randn(T, BATCH, INPUTS)).sum().backward()
        assert len(watched.rows) == 1
        assert watched.rows[0]["error"] is None
    with pytest.raises(UsageError, match=r"then torch\.compile"):
        gradscope.torch.watch(compiled)


def test_questions():
    two = nn.ModuleDict({"a": nn.GRU(2, 3), "b": nn.LSTM(2, 3)})
    with pytest.raises(InputError, match=r"module='a'.*module='b'.*pick one"):
        gradscope.torch.watch(two)
    assert gradscope.torch.watch(two, module="b").module == "b"
    with pytest.raises(InputError, match="retain_grad"):
        gradscope.torch.watch(nn.LSTMCell(2, 3))
    with pytest.raises(InputError, match=r"no nn\.RNN"):
        gradscope.torch.watch(nn.Linear(2, 3))
    for keys, said in (({"every": 0}, "every=0"), ({"need": -1}, "need=-1"), ({"epsilon": 0}, "epsilon=0")):
        with pytest.raises(UsageError, match=said):
            gradscope.torch.watch(nn.GRU(2, 3), **keys)
