"""Spectrum rows at the surface: known matrices, what may be concluded, and what is left null."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.cli import run

JORDAN = 0.9 * np.eye(4) + np.eye(4, k=1)


def spectrum_of(tmp_path: Path, W, keys: str = "", **options):
    np.save(tmp_path / "W.npy", np.asarray(W, dtype=float))
    (result,) = gradscope.spectrum(f"{tmp_path / 'W.npy'}:activation={keys or 'tanh'}", **options).results
    (row,) = result.rows()
    return row, result


def test_a_jordan_block_has_its_known_numbers(tmp_path: Path):
    """Values of theory.md (C05, C02): ‖W^k‖ peaks at 238.4501 at k = 29, K ≥ 107.3836, w = .9 + cos(π/5)."""
    row, result = spectrum_of(tmp_path, JORDAN)
    assert row["spectral_radius"] == pytest.approx(0.9, abs=1e-12)
    assert row["spectral_norm"] == pytest.approx(1.784351, rel=1e-6)
    assert row["numerical_radius"] == pytest.approx(0.9 + np.cos(np.pi / 5), rel=1e-9)
    assert row["kreiss"] == pytest.approx(107.3836, rel=1e-6)
    assert row["kreiss_upper"] == pytest.approx(np.e * 4 * row["kreiss"], rel=1e-9)
    assert row["peak_power"] == 29
    assert 10 ** row["log10_peak_power_norm"] == pytest.approx(238.4501, rel=1e-6)
    assert row["kreiss"] <= 10 ** row["log10_peak_power_norm"] <= row["kreiss_upper"]
    assert row["peak_proven"] is True
    assert row["diagonalizable"] is False
    assert row["log10_condition"] is None
    assert row["ill_conditioned"] == 4
    # A diagonal S makes the norm .9017, which proves more than the transient does.
    assert "vanishes for every input" in row["conclusion"]
    assert result.summary["max_log10_peak_power_norm"] == row["log10_peak_power_norm"]


def test_the_control_has_the_eigenvalues_and_no_transient(tmp_path: Path):
    row, _ = spectrum_of(tmp_path, JORDAN)
    assert row["surrogate_norm"] == pytest.approx(0.9, abs=1e-12)
    assert row["surrogate_peak_power"] == 0
    assert row["surrogate_log10_peak_power_norm"] == 0.0


def test_the_pseudospectral_radius_holds_a_perturbation_that_reaches_it(tmp_path: Path):
    """σ_min(zI − W) = ε at |z| = ρ_ε, and on a ring just outside σ_min stays above ε (checked on 2000 angles)."""
    row, _ = spectrum_of(tmp_path, JORDAN)
    epsilon, radius = row["pseudospectral_epsilon"], row["pseudospectral_radius"]
    assert epsilon == pytest.approx(1e-2 * np.linalg.norm(JORDAN, 2), rel=1e-12)
    assert row["pseudospectral_certified"] is True
    ring = np.exp(2j * np.pi * np.arange(2000) / 2000)
    outside = [np.linalg.svd(1.0001 * radius * z * np.eye(4) - JORDAN, compute_uv=False)[-1] for z in ring]
    inside = [np.linalg.svd(0.9999 * radius * z * np.eye(4) - JORDAN, compute_uv=False)[-1] for z in ring]
    assert min(outside) > epsilon > min(inside)


def test_another_share_is_used_and_recorded(tmp_path: Path, capsys):
    np.save(tmp_path / "W.npy", JORDAN)
    assert run(["spectrum", str(tmp_path / "W.npy"), "--pseudospectrum", "1e-4", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["settings"]["pseudospectrum"] == 1e-4
    assert result["rows"][0]["pseudospectral_epsilon"] == pytest.approx(1e-4 * np.linalg.norm(JORDAN, 2))
    assert run(["spectrum", str(tmp_path / "W.npy"), "--pseudospectrum", "0"]) == 2
    assert "--pseudospectrum" in capsys.readouterr().err


def test_large_blocks_leave_it_out_unless_asked(tmp_path: Path):
    """Above the certified size: null; asked for, a lower bound on ρ_ε that a real perturbation of size ε confirms."""
    W = 0.5 * np.eye(101, k=1)
    W[-1, 0] = 0.5
    row, _ = spectrum_of(tmp_path, W)
    assert row["pseudospectral_radius"] is row["pseudospectral_epsilon"] is row["pseudospectral_certified"] is None
    row, _ = spectrum_of(tmp_path, W, pseudospectrum=0.1)
    # A normal matrix: ρ + ε exactly.
    assert row["pseudospectral_radius"] == pytest.approx(0.5 + 0.05, rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_at_and_above_radius_one_powers_and_kreiss_are_null(tmp_path: Path, scale):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    W = scale * Q @ np.diag([1, 0.5, 0.2, 0.1, 0.0]) @ Q.T if scale > 1 else np.diag([1.0, 0.5, 0.2])
    row, _ = spectrum_of(tmp_path, W)
    assert row["spectral_radius"] == pytest.approx(scale, rel=1e-12)
    for name in ("kreiss", "kreiss_upper", "peak_power", "log10_peak_power_norm", "peak_proven"):
        assert row[name] is None, name
    for name in ("surrogate_peak_power", "surrogate_log10_peak_power_norm"):
        assert row[name] is None, name


def test_zero_and_one_by_one(tmp_path: Path):
    row, result = spectrum_of(tmp_path, [[0.0]])
    assert row["pseudospectral_radius"] is None
    assert row["scaled_norm"] == 0.0
    assert result.summary["certificate"] == 0.0
    assert "exactly zero" in row["conclusion"]
    json.dumps(row, allow_nan=False)


def test_the_scaled_norm_certifies_what_the_norm_cannot(tmp_path: Path):
    row, result = spectrum_of(tmp_path, [[0.5, 3.0], [0.02, 0.5]])
    assert row["scaled_norm"] == pytest.approx(0.5 + np.sqrt(0.06), abs=1e-6)
    assert "vanishes for every input" in row["conclusion"]
    assert result.summary["vanishes_for_every_input"] is True
    assert result.summary["certificate"] == row["scaled_norm"]


def test_the_slope_of_the_cell_enters(tmp_path: Path):
    """3.5·I: ρ = 3.5; with the sigmoid's γ = ¼ it vanishes for every input, with tanh nothing of the kind is said."""
    sigmoid, with_sigmoid = spectrum_of(tmp_path, 3.5 * np.eye(3), "sigmoid")
    tanh, with_tanh = spectrum_of(tmp_path, 3.5 * np.eye(3), "tanh")
    assert "vanishes for every input" in sigmoid["conclusion"]
    assert "every input" not in tanh["conclusion"]
    assert with_sigmoid.summary["certificate"] == pytest.approx(0.875, rel=1e-12)
    assert with_tanh.summary["vanishes_for_every_input"] is False


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        ("skip:hidden=4,gain=0.1", 1),
        ("forget-gate:hidden=4,gain=0.1", 2),
        ("lstm:hidden=4,gain=0.1", 4),
        ("gru:hidden=4,gain=0.1,layers=2", 6),
        ("gru:hidden=4,gain=0.1,bidirectional=true", 6),
        ("rnn:hidden=4,gain=0.1,norm=layer", 1),
        ("dnn:hidden=4,gain=0.1", 1),
        ("seq2seq:hidden=4,cell=lstm", 8),
        ("seq2seq:hidden=4,cell=rnn,feedback=soft", 2),
    ],
)
def test_blocks_that_do_not_decide_the_gradient_never_say_so(source, blocks):
    """W/10 would vanish in a plain rnn; beside a skip, gates, a norm or a W per step that proves nothing."""
    (result,) = gradscope.spectrum(source).results
    rows = list(result.rows())
    assert len(rows) == blocks
    assert result.summary["certificate"] is None
    assert result.summary["vanishes_for_every_input"] is False
    sentences = [row["conclusion"] for row in rows]
    if "feedback=soft" in source:
        sentences = sentences[1:]  # the encoder is a plain rnn, and its own layer may well vanish
    assert not any("every input" in sentence for sentence in sentences)
    assert all("measure it" in sentence for sentence in sentences)
    for row in rows:
        if row["gate"] is not None:
            assert f"gate {row['gate']} " in row["conclusion"]
        else:
            assert "gate" not in row["conclusion"]


def test_a_skip_grows_by_its_own_eigenvalues(tmp_path: Path):
    """The linear skip has eigenvalues 1 + λ: λ = .25 must be read as growth by 1.25 per step."""
    np.savez(tmp_path / "skip.npz", weight_ih_l0=np.ones((3, 1)), weight_hh_l0=0.25 * np.eye(3))
    (result,) = gradscope.spectrum(f"{tmp_path / 'skip.npz'}:cell=skip").results
    assert "1.25ᵏ" in result.columns["conclusion"][0]


def test_a_stack_of_plain_layers_is_certified_layer_by_layer():
    (result,) = gradscope.spectrum("rnn:hidden=5,layers=2,gain=0.2").results
    assert result.summary["certificate"] == pytest.approx(max(result.columns["scaled_norm"]), rel=1e-12)
    assert result.summary["certificate"] < 1
    assert result.summary["vanishes_for_every_input"] is True
    assert all("within this layer" in sentence for sentence in result.columns["conclusion"])


def test_ready_jacobians_are_refused_with_a_next_step(tmp_path: Path, capsys):
    np.save(tmp_path / "J.npy", np.zeros((3, 2, 2)))
    assert run(["spectrum", str(tmp_path / "J.npy")]) == 3
    said = capsys.readouterr().err
    assert "ready Jacobians" in said
    assert "lyapunov" in said


def test_gates_read_the_new_names(capsys):
    words = ["spectrum", "rnn:hidden=6,gain=0.5", "-q"]
    assert run([*words, "--fail-on", "max_kreiss < 1"]) == 0
    assert run([*words, "--fail-on", "max_scaled_norm > 0"]) == 1
    assert run([*words, "--fail-on", "pseudospectral_radius@n=6 > 0"]) == 1
    assert run([*words, "--fail-on", "max_kreis < 1"]) == 2
    assert "max_kreiss" in capsys.readouterr().err


def grcar(n):
    return -np.eye(n, k=-1) + sum(np.eye(n, k=j) for j in range(4))


PROVED = {
    "grcar": (0.4 * grcar(100), 0.905170254264, 0.90779),
    "chain 33": (0.6 * np.eye(33) + np.eye(33, k=1) + 0.02 * np.eye(33, k=-1), 0.8816, 0.8829),
    "shift": (0.9 * np.eye(64) + np.eye(64, k=1), 0.9, 0.9 + 1e-12),
    "alternating shift": (0.7 * np.eye(40) - np.eye(40, k=1), 0.7, 0.7 + 1e-12),
    "hidden rotation": (
        2.0 ** np.arange(24)[:, None] * (0.95 * np.roll(np.eye(24), 1, axis=1)) / 2.0 ** np.arange(24), 0.95, 0.9501
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVED)
def test_one_certificate_in_every_verb(tmp_path: Path, name):
    W, at_least, at_most = PROVED[name]
    np.save(tmp_path / "W.npy", W)
    (spectrum,) = gradscope.spectrum(str(tmp_path / "W.npy")).results
    (gradients,) = gradscope.gradients(str(tmp_path / "W.npy"), steps=30).results
    value = spectrum.columns["certificate"][0]
    assert at_least * (1 - 1e-11) <= value <= at_most
    assert gradients.summary["certificate"] == value == spectrum.summary["certificate"]
    assert list(spectrum.columns["vanishes_for_every_input"]) == [True]
    assert gradients.summary["vanishes_for_every_input"]
    assert spectrum.columns["spectral_radius_high"][0] <= value
    assert spectrum.columns["kreiss"][0] >= 1
    assert "vanishes for every input" in spectrum.columns["conclusion"][0]


def test_the_bound_of_a_graded_chain_comes_down(tmp_path: Path):
    """W = .9 I + shift, n = 64: σ₁^3000 is 10^836, ‖|W|^3000‖ 10^-2.9; with a sign, a graded S does as much."""
    for sign, largest in ((1.0, -2.8), (-1.0, -2.8)):
        np.save(tmp_path / "W.npy", 0.9 * np.eye(64) + sign * np.eye(64, k=1))
        (result,) = gradscope.gradients(str(tmp_path / "W.npy"), steps=3000, loss="none").results
        assert result.columns["log10_bound"][-1] < largest
        assert result.columns["log10_bound"][-1] >= result.columns["log10_norm"][-1]


def test_a_gate_has_no_certificate():
    result = gradscope.spectrum("lstm:hidden=4").results[0]
    assert np.isnan(result.columns["certificate"].astype(float)).all()
    assert list(result.columns["vanishes_for_every_input"]) == [False] * 4
