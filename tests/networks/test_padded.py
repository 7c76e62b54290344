"""Padded batches with their lengths: every sequence counts back from its own end, and padding says nothing."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.errors import GradscopeError

LENGTHS = np.array([9, 4, 7, 1, 9])
#: Beside what one sequence alone gives, float64's rounding of another order of sums.
SAME = {"rtol": 1e-9, "atol": 1e-9}


def padded(width, seed=3):
    """(batch, T, width) with rubbish in the padding."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(LENGTHS), 12, width))
    for b, length in enumerate(LENGTHS):
        x[b, length:] = 1e3
    return x


def mean_of_alone(column, alone):
    """Column by lag, mean over the sequences that reach it."""
    rows = [np.array([np.nan if v is None else v for v in result.columns[column]], dtype=float) for result in alone]
    longest = max(map(len, rows))
    table = np.full((len(rows), longest), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    known = np.isfinite(table)
    counts = known.sum(axis=0)
    return np.where(counts, np.where(known, table, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def found(result, column):
    return np.array([np.nan if v is None else v for v in result.columns[column]], dtype=float)


SOURCES = [
    "rnn:hidden=5,inputs=3", "lstm:hidden=4,inputs=3,layers=2", "gru:hidden=4,inputs=3,norm=layer",
    "leaky:hidden=5,inputs=3", "input-gate:hidden=4,inputs=3",
]  # fmt: skip


@pytest.mark.parametrize("memory", ["1G", 3000])
@pytest.mark.parametrize("source", SOURCES)
def test_a_padded_batch_is_its_sequences_one_by_one(source, memory):
    """Also where the run is recomputed stretch by stretch, and beginnings fall into the middle of a stretch."""
    x = padded(3)
    batch = gradscope.gradients(source, inputs=x, lengths=LENGTHS, memory=memory).results[0]
    alone = [gradscope.gradients(source, inputs=x[b, :n]).results[0] for b, n in enumerate(LENGTHS)]
    columns = ["log10_norm", "log10_theory", "log10_path_bound", "log10_dloss_dstate", "log10_dloss_dweight"]
    if "layers" in source:
        columns.remove("log10_theory")  # of a stack it is the slowest layer's, after the mean over the batch
    for column in [*columns, "log10_dloss_dweight_tail", "stable_rank"]:
        np.testing.assert_allclose(found(batch, column), mean_of_alone(column, alone), err_msg=column, **SAME)
    assert batch.columns["samples"].tolist() == [int((lag <= LENGTHS).sum()) for lag in range(10)]
    assert batch.summary["zero_samples"] == 0
    assert batch.summary["bound_violations"] == 0
    assert batch.settings["steps"] == 9
    assert any("5 sequences of 1 to 9 steps" in said and "of the 2 longest" in said for said in batch.warnings)


def test_time_constants_are_of_steps_that_are_run():
    """One unit, W = 0: f_t = σ(b + w x_t), so that −1/⟨ln f⟩ over the nine steps of two sequences is known."""
    x = np.array([[1.0, 2.0, -1.0, 0.5, 3.0, 0.0], [-2.0, 1.5, 0.3, 77.0, 77.0, 77.0]])[..., None]
    weights = {"weight_ih": np.ones((4, 1)), "weight_hh": np.zeros((4, 1))}
    report = gradscope.gradients(weights, inputs=x, lengths=[6, 3], loss="none")
    used = np.concatenate([x[0, :, 0], x[1, :3, 0]])
    wanted = 1.0 / np.log1p(np.exp(-used)).mean()
    assert report.results[0].summary["time_constant_median"] == pytest.approx(wanted, rel=1e-12)


def test_without_lengths_the_padding_counts():
    """The control: the test above would notice a --lengths that does nothing."""
    x = padded(3)
    with_padding = gradscope.gradients("rnn:hidden=5,inputs=3", inputs=x[:, :9]).results[0]
    batch = gradscope.gradients("rnn:hidden=5,inputs=3", inputs=x, lengths=LENGTHS).results[0]
    assert np.abs(found(with_padding, "log10_norm")[1:] - found(batch, "log10_norm")[1:]).max() > 1


def test_equal_lengths_change_nothing_but_the_column():
    x = padded(3)[:, :9]
    plain = gradscope.gradients("lstm:hidden=4,inputs=3", inputs=x).results[0]
    batch = gradscope.gradients("lstm:hidden=4,inputs=3", inputs=x, lengths=[9] * 5).results[0]
    for column in plain.columns:
        if column not in ("status", "rank"):
            np.testing.assert_array_equal(found(batch, column), found(plain, column))
    assert batch.warnings == plain.warnings


@pytest.mark.parametrize("loss_at", ["last", "all"])
def test_losses_at_every_step_with_padded_targets(loss_at):
    """Targets of steps are padded too, with −100 as frameworks have it."""
    x = padded(3)
    target = np.random.default_rng(0).integers(0, 4, (5, 12))
    for b, n in enumerate(LENGTHS):
        target[b, n:] = -100
    options = {"loss_at": loss_at}
    given = {"target": target if loss_at == "all" else target[:, 0]}
    source = "gru:hidden=4,inputs=3,classes=4"
    batch = gradscope.gradients(source, inputs=x, lengths=LENGTHS, **given, **options).results[0]
    alone = [
        gradscope.gradients(source, inputs=x[b, :n], target=target[b, :n] if loss_at == "all" else int(target[b, 0]),
                            **options).results[0]
        for b, n in enumerate(LENGTHS)
    ]  # fmt: skip
    for column in ("log10_dloss_dstate", "log10_dloss_dweight"):
        np.testing.assert_allclose(found(batch, column), mean_of_alone(column, alone), **SAME)


def test_inputs_that_h_hears():
    x = padded(3)
    batch = gradscope.gradients("gru:hidden=4,inputs=3", inputs=x, lengths=LENGTHS, wrt="inputs").results[0]
    alone = [
        gradscope.gradients("gru:hidden=4,inputs=3", inputs=x[b, :n], wrt="inputs").results[0]
        for b, n in enumerate(LENGTHS)
    ]
    for column in ("log10_norm", "share", "log10_dloss_dinput", "log10_doutput_dinput"):
        np.testing.assert_allclose(found(batch, column), mean_of_alone(column, alone), **SAME)
    assert batch.columns["samples"].tolist() == [int((lag < LENGTHS).sum()) for lag in range(9)]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_each_direction_reads_from_its_own_end(direction):
    x = padded(3)
    source = "lstm:hidden=4,inputs=3,layers=2,bidirectional=true"

    def of(report):
        return [one for one in report.results if one.source["direction"] == direction]

    batch = of(gradscope.gradients(source, inputs=x, lengths=LENGTHS))
    alone = [of(gradscope.gradients(source, inputs=x[b, :n])) for b, n in enumerate(LENGTHS)]
    for layer in (0, 1):
        for column in ("log10_norm", "log10_dloss_dstate"):
            wanted = mean_of_alone(column, [one[layer] for one in alone])
            np.testing.assert_allclose(found(batch[layer], column), wanted, **SAME)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_sequences_of_torch(kind):
    """Weight and input gradients of a stacked bidirectional network through pack_padded_sequence, head on h_n."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    rnn = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    head = torch.nn.Linear(8, 5).double()
    x = torch.tensor(padded(3), requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    last = rnn(packed)[1]
    h_n = last[0] if kind == "LSTM" else last
    target = torch.tensor([0, 4, 2, 1, 3])
    losses = torch.nn.functional.cross_entropy(head(torch.cat([h_n[-2], h_n[-1]], dim=1)), target, reduction="none")
    losses.sum().backward()
    per_sample = x.grad.norm(dim=2).numpy()  # ∂(own loss)/∂x: samples do not meet
    rnn.zero_grad()
    parameters = dict(rnn.named_parameters())
    state = {f"rnn.{name}": value for name, value in rnn.state_dict().items()}
    state |= {f"head.{name}": value for name, value in head.state_dict().items()}
    options = {"inputs": x.detach(), "lengths": LENGTHS, "target": target}
    report = gradscope.gradients(state, **options)
    mean = torch.nn.functional.cross_entropy(head(torch.cat([h_n[-2], h_n[-1]], dim=1)).detach(), target)
    assert np.isfinite(float(mean))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    last = rnn(packed)[1]
    h_n = last[0] if kind == "LSTM" else last
    torch.nn.functional.cross_entropy(head(torch.cat([h_n[-2], h_n[-1]], dim=1)), target).backward()
    for result in report.results:
        name = f"weight_hh_l{result.source['layer']}" + "_reverse" * (result.source["direction"] == "backward")
        wanted = float(parameters[name].grad.norm().log10())
        assert result.summary["log10_dloss_dweight_total"] == pytest.approx(wanted, abs=1e-10), name
    heard = gradscope.gradients(state, **options, wrt="inputs")
    bottom = next(r for r in heard.results if (r.source["layer"], r.source["direction"]) == (0, "forward"))
    # By lag from each sequence's own end: step L − 1 − k.
    wanted = [
        np.mean([np.log10(per_sample[b, n - 1 - lag]) for b, n in enumerate(LENGTHS) if n > lag]) for lag in range(9)
    ]
    np.testing.assert_allclose(found(bottom, "log10_dloss_dinput"), wanted, atol=1e-10)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ([9, 4, 7], "3 lengths for 5 sequences"),
        ([9, 4, 7, 0, 9], "0 is no length here: the inputs have 12 steps"),
        ([9, 4, 7, 13, 9], "13 is no length here"),
        ([9, 4, 7, 2.5, 9], r"2\.5 is no length here"),
        ("nowhere.txt", "wanted whole numbers like 12,9,30"),
    ],
)
def test_wrong_lengths(lengths, said):
    with pytest.raises(GradscopeError, match=said):
        gradscope.gradients("rnn:hidden=3,inputs=3", inputs=padded(3), lengths=lengths)


@pytest.mark.parametrize("options", [{"transient": 2}, {"anchor": "start"}, {"per_layer": True}, {"factors": True}])
def test_what_has_no_common_beginning(options):
    with pytest.raises(GradscopeError, match="lags back from each sequence's own end; drop --"):
        gradscope.gradients("rnn:hidden=3,inputs=3", inputs=padded(3), lengths=LENGTHS, **options)


@pytest.mark.parametrize("source", ["dnn:hidden=3,inputs=3", "seq2seq:hidden=3,inputs=3,vocab=4"])
def test_networks_without_lengths(source):
    with pytest.raises(GradscopeError, match="--lengths has no meaning for"):
        gradscope.gradients(source, inputs=padded(3), lengths=LENGTHS)


def test_files_of_lengths(tmp_path):
    (tmp_path / "lengths.txt").write_text("9\n4\n7\n1\n9\n")
    np.save(tmp_path / "lengths.npy", LENGTHS)
    reports = [
        gradscope.gradients("rnn:hidden=3,inputs=3", inputs=padded(3), lengths=given)
        for given in (LENGTHS, "9,4,7,1,9", tmp_path / "lengths.txt", tmp_path / "lengths.npy")
    ]
    for report in reports[1:]:
        np.testing.assert_array_equal(found(report.results[0], "log10_norm"),
                                      found(reports[0].results[0], "log10_norm"))  # fmt: skip
    assert reports[1].results[0].settings["lengths"] == "9,4,7,1,9"


def test_tokens_of_a_padded_batch(tmp_path):
    rng = np.random.default_rng(0)
    state = {"rnn.weight_ih_l0": rng.standard_normal((16, 3)), "rnn.weight_hh_l0": rng.standard_normal((16, 4))}
    state |= {"rnn.bias_ih_l0": np.zeros(16), "rnn.bias_hh_l0": np.zeros(16), "embedding.weight": np.eye(7, 3)}
    tokens = rng.integers(1, 7, (2, 6))
    tokens[1, 4:] = 0
    batch = gradscope.gradients(state, tokens=tokens, lengths=[6, 4], loss="none").results[0]
    alone = [
        gradscope.gradients(state, tokens=row[:n], loss="none").results[0]
        for row, n in zip(tokens, (6, 4), strict=True)
    ]
    np.testing.assert_allclose(found(batch, "log10_norm"), mean_of_alone("log10_norm", alone), **SAME)
    (tmp_path / "ragged.txt").write_text("1 2 3\n4 5\n")
    with pytest.raises(GradscopeError, match=r"lines of 2 to 3 tokens(.|\n)*--lengths"):
        gradscope.gradients(state, tokens=tmp_path / "ragged.txt")


def test_advice_measures_with_the_same_lengths():
    source, options = "lstm:hidden=4,inputs=3,forget_bias=-2", {"inputs": padded(3), "lengths": LENGTHS}
    report = gradscope.advise(source, **options, only=["forget_bias", "clip"])
    row = report.results[0]
    at = list(row.columns["kind"]).index("forget_bias")
    again = gradscope.gradients(f"{source},{row.columns['change'][at]}", **options).results[0]
    assert row.columns["after_horizon_censored"][at] == again.summary["horizon_censored"]
    after = row.columns["after_horizon"][at]
    assert (None if np.isnan(after) else after) == again.summary["horizon"]
    assert row.columns["after_rate"][at] == pytest.approx(again.summary["log10_rate"], nan_ok=True)


def test_the_loss_gradient_of_a_saturated_lstm_below_float64s_range_is_that_of_each_sequence():
    """φ′(c) of c near 700 is some 10^-600: null in a padded batch, although known of each sequence alone."""
    H, rng = 3, np.random.default_rng(0)
    b = np.repeat([40.0, 3.0, 40.0, 5.0], H)  # i = g = 1, c falls from 900 by f = 0.95 a step
    weights = {
        "weight_ih_l0": np.zeros((4 * H, 2)), "weight_hh_l0": np.zeros((4 * H, H)), "bias_ih_l0": b,
        "bias_hh_l0": np.zeros(4 * H), "fc.weight": rng.standard_normal((2, H)), "fc.bias": np.zeros(2),
    }  # fmt: skip
    state, x, lengths = np.concatenate([np.zeros(H), np.full(H, 900.0)]), rng.standard_normal((3, 6, 2)), [6, 2, 4]
    batch = gradscope.gradients(weights, inputs=x, state=state, lengths=lengths).results[0]
    alone = [gradscope.gradients(weights, inputs=x[b, :n], state=state).results[0] for b, n in enumerate(lengths)]
    expected = mean_of_alone("log10_dloss_dstate", alone)
    assert (expected[1:] < -500).all()
    np.testing.assert_allclose(found(batch, "log10_dloss_dstate"), expected, **SAME)
