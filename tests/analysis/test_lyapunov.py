"""``lyapunov`` at the surface: closed forms, bad input said plainly, and numbers that are never made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.theory.mean_field import tanh_mean_field


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    assert run(["lyapunov", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert 1 <= len(lines) <= 2
    return captured.err


def test_a_linear_network_has_the_logarithms_of_its_eigenvalues(tmp_path: Path):
    W = np.array([[0.9, 5.0, 0.0], [0.0, -0.6, 1.0], [0.0, 0.0, 0.3]])
    np.save(tmp_path / "W.npy", W)
    (result,) = gradscope.lyapunov(f"{tmp_path / 'W.npy'}:activation=identity", steps=200).results
    assert np.allclose(result.columns["exponent"], np.log([0.9, 0.6, 0.3]), atol=1e-10, rtol=0)
    assert result.summary["sum"] == pytest.approx(np.log(0.9 * 0.6 * 0.3), abs=1e-10)
    assert result.summary["mean_log_det"] == pytest.approx(result.summary["sum"], abs=1e-10)


def test_all_singular_values_of_five_thousand_steps(tmp_path: Path):
    """J = Q_t D Q_{t−1}ᵀ telescopes: the product of K steps has singular values d_i^K, here 4500 decades apart."""
    rng = np.random.default_rng(1)
    n, K = 4, 5000
    frames = np.linalg.qr(rng.standard_normal((K + 1, n, n)))[0]
    d = 10.0 ** np.array([0.01, -0.2, -0.5, -0.89])
    np.save(tmp_path / "J.npy", frames[1:] @ (d[:, None] * np.swapaxes(frames[:-1], -1, -2)))
    (result,) = gradscope.lyapunov(str(tmp_path / "J.npy"), singular_values=True).results
    truth = K * np.log10(d)
    assert truth[0] - truth[-1] == pytest.approx(4500)
    # 5000 products of factors right to a few eps each: 5000·4·2.2e−16/ln 10 < 1e−11 of a decade, times a safe 10.
    assert np.allclose(result.columns["log10_singular_value"], truth, atol=1e-10, rtol=1e-13)
    found = result.details["finite_lag"]
    assert (found["first"], found["last"], found["converged"]) == (1, K, True)
    assert np.allclose(found["log10_singular_values"], [truth], atol=1e-10, rtol=1e-13)
    # Exponents by QR start from a frame that is not yet aligned, which costs a few nats once: 10 nats over 5000 steps.
    assert np.allclose(result.columns["exponent"], np.log(d), atol=10 / K, rtol=0)


def test_singular_values_of_a_short_product_are_those_of_the_svd(tmp_path: Path, capsys):
    matrices = np.random.default_rng(2).standard_normal((6, 5, 5))
    np.save(tmp_path / "J.npy", matrices)
    assert run(["lyapunov", str(tmp_path / "J.npy"), "--singular-values", "-k", "3", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    product = np.linalg.multi_dot(matrices[::-1])
    truth = np.log10(np.linalg.svd(product, compute_uv=False))
    assert [row["log10_singular_value"] for row in result["rows"]] == pytest.approx(truth[:3], abs=1e-10)
    assert result["details"]["finite_lag"]["log10_singular_values"][0] == pytest.approx(truth, abs=1e-10)


def test_lost_rank_is_null_in_both_columns(tmp_path: Path):
    J = np.tile(np.diag([2.0, 0.5, 0.0]), (60, 1, 1))
    np.save(tmp_path / "J.npy", J)
    (result,) = gradscope.lyapunov(str(tmp_path / "J.npy"), singular_values=True).results
    rows = list(result.rows())
    assert [row["status"] for row in rows] == ["ok", "ok", "minus_infinity"]
    assert rows[2]["exponent"] is rows[2]["low"] is rows[2]["high"] is rows[2]["log10_singular_value"] is None
    assert rows[0]["log10_singular_value"] == pytest.approx(60 * np.log10(2), rel=1e-12)


def test_without_the_flag_there_is_no_such_column():
    (result,) = gradscope.lyapunov("rnn:hidden=3", steps=50).results
    assert list(result.columns) == ["index", "exponent", "low", "high", "status"]
    assert "finite_lag" not in result.details


@pytest.mark.parametrize("steps", [1, 2, 23])
def test_too_few_steps_have_no_interval_and_say_so(steps):
    (result,) = gradscope.lyapunov("rnn:hidden=3", steps=steps).results
    for row in result.rows():
        assert row["low"] is None
        assert row["high"] is None
        assert row["exponent"] is not None
    assert result.summary["converged"] is False
    assert any("too few for an interval" in warning for warning in result.warnings)
    assert f"{steps} step" in result.summary["verdict"]


def test_the_interval_comes_with_enough_steps():
    (result,) = gradscope.lyapunov("rnn:hidden=3", steps=300).results
    assert all(row["low"] < row["exponent"] < row["high"] for row in result.rows())


def test_a_single_ready_jacobian(tmp_path: Path, capsys):
    np.save(tmp_path / "J.npy", np.random.default_rng(0).standard_normal((1, 3, 3)))
    assert run(["lyapunov", str(tmp_path / "J.npy"), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert [row["low"] for row in result["rows"]] == [None] * 3
    assert result["summary"]["steps"] == 1
    assert "1 step is too few" in result["warnings"][0]


def test_refusals_name_what_was_wanted(tmp_path: Path, capsys):
    np.save(tmp_path / "J.npy", np.random.default_rng(0).standard_normal((10, 3, 3)))
    np.savez(tmp_path / "dense.npz", **{"fc.weight": np.ones((3, 4)), "fc.bias": np.ones(3)})
    J = str(tmp_path / "J.npy")
    assert "at most -k 3" in refused(capsys, J, "-k", "4")
    assert "-k 0" in refused(capsys, "rnn", "-k", "0")
    assert "at least one step" in refused(capsys, "rnn:hidden=2", "-T", "0")
    said = refused(capsys, J, "--covariant")
    assert "10 steps" in said
    assert "40" in said
    assert "--covariant" in refused(capsys, "rnn:hidden=3", "-T", "39", "--covariant")
    assert "ready Jacobians" in refused(capsys, J, "--closed-loop")
    assert "both ends" in refused(capsys, "rnn:hidden=3,bidirectional=true", "--closed-loop")
    assert "decoder" in refused(capsys, "seq2seq:hidden=3", "--closed-loop")
    assert "depth" in refused(capsys, "dnn:hidden=3", "--closed-loop")
    assert "--closed-loop" in refused(capsys, "rnn:hidden=3", "--readout", "r.npz")
    refused(capsys, str(tmp_path / "dense.npz"), code=3)


@pytest.mark.parametrize(
    ("source", "results"),
    [("gru:hidden=3,layers=2", 1), ("lstm:hidden=3,bidirectional=true,layers=2", 4), ("seq2seq:hidden=3,cell=gru", 1)],
)
def test_compositions_add_up_to_their_determinants(source, results):
    """Σλ = mean ln |det J|, from LU factorisations that know nothing of QR."""
    found = gradscope.lyapunov(source, steps=60).results
    assert len(found) == results
    for result in found:
        assert result.n_rows == result.source["state_size"]
        assert result.summary["sum"] == pytest.approx(result.summary["mean_log_det"], abs=1e-8)


def test_a_batch_is_the_average_of_its_sequences(tmp_path: Path):
    x = np.random.default_rng(3).standard_normal((2, 300, 4))
    np.save(tmp_path / "both.npy", x)
    np.save(tmp_path / "one.npy", x[0])
    np.save(tmp_path / "two.npy", x[1])

    def exponents(name):
        return gradscope.lyapunov("rnn:hidden=5,inputs=4", inputs=str(tmp_path / name)).results[0].columns["exponent"]

    apart = (exponents("one.npy") + exponents("two.npy")) / 2
    # The frames differ in their first steps by the draw of the tangents: an error that dies like e^{−gap·t}/T.
    assert np.allclose(exponents("both.npy"), apart, atol=2e-3)


def test_a_batch_at_rest_keeps_the_limit_and_its_interval(tmp_path: Path):
    """Three sequences, one constant Jacobian: ln |eigenvalues| to 1e-10, not the QR average of a short run."""
    W = np.array([[0.9, 5.0, 0.0], [0.0, -0.6, 1.0], [0.0, 0.0, 0.3]])
    np.savez(tmp_path / "net.npz", weight_ih_l0=np.ones((3, 2)), weight_hh_l0=W)
    source = f"{tmp_path / 'net.npz'}:activation=identity"
    (result,) = gradscope.lyapunov(source, steps=60, batch=3, inputs="normal").results
    assert result.summary["method"] == "schur"
    assert result.summary["converged"] is True
    assert np.allclose(result.columns["exponent"], np.log([0.9, 0.6, 0.3]), atol=1e-10, rtol=0)
    assert result.summary["sum"] == pytest.approx(np.log(0.9 * 0.6 * 0.3), abs=1e-10)
    width = np.asarray(result.columns["high"]) - np.asarray(result.columns["low"])
    assert (width < 1e-9).all()


def test_the_closed_loop_of_a_file_reads_its_own_readout(tmp_path: Path):
    """Linear: h_t = (W + U W_out) h_{t−1}, so the exponents are ln |eig(W + U W_out)|."""
    rng = np.random.default_rng(4)
    U, W, out = rng.standard_normal((4, 2)), 0.4 * rng.standard_normal((4, 4)), 0.3 * rng.standard_normal((2, 4))
    weights = {"weight_ih_l0": U, "weight_hh_l0": W, "head.weight": out, "head.bias": np.zeros(2)}
    np.savez(tmp_path / "net.npz", **weights)
    source = f"{tmp_path / 'net.npz'}:cell=rnn,activation=identity"
    truth = np.sort(np.log(np.abs(np.linalg.eigvals(W + U @ out))))[::-1]
    (result,) = gradscope.lyapunov(source, steps=100, closed_loop=True).results
    assert np.allclose(result.columns["exponent"], truth, atol=1e-9)
    assert any("head.weight" in warning for warning in result.warnings)
    np.savez(tmp_path / "two.npz", **weights, **{"other.weight": out})
    with pytest.raises(gradscope.errors.GradscopeError, match=r"head\.weight, other\.weight"):
        gradscope.lyapunov(f"{tmp_path / 'two.npz'}:cell=rnn", closed_loop=True)


def test_mean_field_is_met_by_a_driven_network():
    """N = 400, driven by N(0, 1): variance per unit input_gain².

    Simulations (docs/lyapunov.md) have λ₁ 0.02–0.03 below mean field at N = 200 and 0.002–0.006 at N = 800, so at
    most 0.03·200/N = 0.015 at N = 400; on top comes the interval of the measurement.
    """
    (result,) = gradscope.lyapunov(
        "rnn:hidden=400,gain=2,input_gain=0.7,inputs=20", steps=400, transient=100, k=1, seed=1
    ).results
    expected = result.summary["mean_field_exponent"]
    # One-point iterations of q and χ with a quadrature of their own.
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    q = 1.0
    for _ in range(500):
        q = 4 * float(w @ np.tanh(np.sqrt(q) * z) ** 2) + 0.49
    chi = 4 * float(w @ np.cosh(np.sqrt(q) * z) ** -4)
    # 80 Gauss–Hermite points of tanh² and sech⁴ at this q are right to about 1e−5.
    assert result.summary["mean_field_q"] == pytest.approx(q, rel=1e-4)
    assert expected == pytest.approx(0.5 * np.log(chi), abs=1e-4)
    (row,) = result.rows()
    tolerance = 0.03 * 200 / 400 + (row["high"] - row["low"]) / 2
    assert abs(row["exponent"] - expected) < tolerance
    assert tolerance < 0.04
    # The test can tell: without the input's variance mean field is elsewhere.
    assert abs(tanh_mean_field(2.0).exponent - row["exponent"]) > 2 * tolerance


def test_mean_field_of_a_network_at_rest_is_that_of_the_origin():
    """Zero input from h = 0 stays there, J = W: λ₁ = ln ρ(W) → ln g, not the attractor's exponent."""
    (rest,) = gradscope.lyapunov("rnn:hidden=100,gain=2", inputs="zeros", steps=60, k=1).results
    assert rest.summary["mean_field_exponent"] == pytest.approx(np.log(2))
    assert any("rests at a fixed point" in warning for warning in rest.warnings)
    # ρ of a 100 × 100 Gaussian matrix is g(1 + O(N^−½)): 10 %.
    assert rest.columns["exponent"][0] == pytest.approx(np.log(2), abs=0.1)
    (moved,) = gradscope.lyapunov("rnn:hidden=100,gain=2", inputs="zeros", state="normal", steps=60, k=1).results
    assert moved.summary["mean_field_exponent"] == pytest.approx(0.15472, abs=1e-5)


@pytest.mark.parametrize(
    "source",
    ["lstm:hidden=4", "rnn:hidden=4,activation=relu", "rnn:hidden=4,layers=2", "rnn:hidden=4,bias=1", "dnn:hidden=4"],
)
def test_no_mean_field_where_it_does_not_hold(source):
    (result,) = gradscope.lyapunov(source, steps=30).results
    assert "mean_field_exponent" not in result.summary


def test_covariant_vectors_meet_the_same_exponents():
    (result,) = gradscope.lyapunov("rnn:hidden=3,gain=1.5", steps=3000, covariant=True).results
    covariant = np.asarray(result.details["covariant"]["exponents"])
    half = (np.asarray(result.columns["high"]) - np.asarray(result.columns["low"])) / 2
    # Two averages over overlapping windows of 3000 and 1500 steps: within three half widths.
    assert (np.abs(covariant - result.columns["exponent"]) < 3 * half + 1e-6).all()


def test_the_seed_draws_the_initial_state(tmp_path: Path):
    """A matrix from a file has no other randomness: the gradient of its autonomous run depends on s_0 alone."""
    np.save(tmp_path / "W.npy", 1.5 * np.random.default_rng(0).standard_normal((6, 6)) / np.sqrt(6))

    def norms(seed):
        source = f"{tmp_path / 'W.npy'}:activation=tanh"
        (result,) = gradscope.gradients(source, state="normal", steps=8, seed=seed, loss="none").results
        return np.asarray(result.columns["log10_norm"])

    assert np.array_equal(norms(3), norms(3))
    assert not np.allclose(norms(3)[1:], norms(4)[1:], atol=1e-3)


def test_the_bias_of_the_readout_is_used_and_equals_the_same_readout_from_outside(tmp_path: Path):
    rng = np.random.default_rng(6)
    U, W, out, bias = rng.standard_normal((4, 2)), rng.standard_normal((4, 4)), rng.standard_normal((2, 4)), np.ones(2)
    np.savez(tmp_path / "net.npz", weight_ih_l0=U, weight_hh_l0=W, **{"head.weight": out, "head.bias": bias})
    np.savez(tmp_path / "readout.npz", weight=out, bias=bias)
    np.savez(tmp_path / "unbiased.npz", weight=out)

    def exponents(readout):
        name = None if readout is None else str(tmp_path / readout)
        (result,) = gradscope.lyapunov(str(tmp_path / "net.npz"), steps=50, closed_loop=True, readout=name).results
        return result.columns["exponent"]

    own = exponents(None)
    assert np.array_equal(own, exponents("readout.npz"))
    assert not np.allclose(own, exponents("unbiased.npz"), atol=1e-3)


def test_the_view_shows_singular_values_beside_exponents(capsys):
    assert run(["lyapunov", "rnn:hidden=3", "-T", "60", "--singular-values"]) == 0
    assert "sigma" in capsys.readouterr().out
