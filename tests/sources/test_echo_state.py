"""Echo state networks: ``W``, ``Win``, ``bias`` and a leak, as leaky."""

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, UsageError
from gradscope.sources.files import read_weights
from tests.sources.test_named_tensors import write_npz


@pytest.fixture
def reservoir():
    rng = np.random.default_rng(9)
    return {
        "W": 0.3 * rng.standard_normal((6, 6)),
        "Win": rng.uniform(-1, 1, (6, 2)),
        "bias": rng.uniform(-1, 1, (6, 1)),
        "Wout": rng.standard_normal((3, 6)),
    }


@pytest.mark.parametrize("name", ["leak", "lr", "leaking_rate"])
def test_the_gradient_is_the_written_out_one(tmp_path, reservoir, name):
    """∏ ((1−a) I + a diag(1 − tanh²) W) multiplied out along the trajectory."""
    a = 0.3
    path = write_npz(tmp_path / "esn.npz", {**reservoir, name: np.array(a)})
    x = np.random.default_rng(1).standard_normal((5, 2))
    np.save(tmp_path / "x.npy", x)
    W, Win, b = reservoir["W"], reservoir["Win"], reservoir["bias"].ravel()
    h, product = np.zeros(6), np.eye(6)
    norms = []
    for x_t in x:
        u = np.tanh(Win @ x_t + W @ h + b)
        h = (1 - a) * h + a * u
        product = ((1 - a) * np.eye(6) + a * (1 - u**2)[:, None] * W) @ product
        norms.append(np.log10(np.linalg.norm(product, 2)))
    given = {"inputs": str(tmp_path / "x.npy"), "anchor": "start", "loss": "none"}
    result = gradscope.gradients(str(path), **given).results[0]
    assert result.source["cell"] == "leaky"
    np.testing.assert_allclose([row["log10_norm"] for row in result.rows()][1:], norms, atol=1e-10)
    assert not any("leak=" in sentence for sentence in result.warnings)


def test_without_a_leak_in_the_file_the_key_says_it(tmp_path, reservoir):
    path = write_npz(tmp_path / "esn.npz", reservoir)
    given = {"steps": 5, "loss": "none"}
    assert any("leak=" in sentence for sentence in gradscope.gradients(str(path), **given).results[0].warnings)
    half, most = (gradscope.gradients(f"{path}:leak={a}", **given).results[0].summary for a in (0.5, 0.9))
    assert half["log10_rate"] != most["log10_rate"]
    assert "Wout" in read_weights(path).other_arrays


def test_what_is_no_reservoir_here(tmp_path, reservoir):
    with pytest.raises(InputError, match=r"'Wfb' feeds the output back.*ignore=Wfb"):
        read_weights(write_npz(tmp_path / "f.npz", {**reservoir, "Wfb": np.ones((6, 3))}))
    assert read_weights(tmp_path / "f.npz", ignore="Wfb").layers[0].cell == "leaky"
    with pytest.raises(InputError, match="a leak per unit"):
        read_weights(write_npz(tmp_path / "l.npz", {**reservoir, "leak": np.full(6, 0.5)}))
    with pytest.raises(InputError, match="should be square"):
        read_weights(write_npz(tmp_path / "s.npz", {**reservoir, "W": np.ones((6, 5))}))
    path = write_npz(tmp_path / "k.npz", {**reservoir, "lr": np.array(0.25)})
    with pytest.raises(UsageError, match=r"the file says 0\.25"):
        gradscope.gradients(f"{path}:leak=0.5", steps=3, loss="none")
