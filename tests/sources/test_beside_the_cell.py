"""What stands in a module beside W_ih, W_hh and two biases: read where it can be, asked about where it cannot."""

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_weights, select_layers
from tests.sources.test_named_tensors import write_npz
from tests.sources.test_torch_files import Checkpoint

ROUNDING = 1e-13


@pytest.fixture
def lstm():
    """nn.LSTM(3, 4) in a module called rnn."""
    rng = np.random.default_rng(5)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    return {f"rnn.{name}": rng.standard_normal(shape) for name, shape in shapes.items()}


def saved(tmp_path, arrays):
    checkpoint = Checkpoint()
    return checkpoint.write(tmp_path / "w.ckpt", {"state_dict": checkpoint.state_dict(arrays), "epoch": 3})


def only(path, **keys):
    (layer,) = select_layers(read_weights(path, **keys))
    return layer


def test_a_plain_pytorch_file_assumes_nothing(tmp_path, lstm):
    layer = only(saved(tmp_path, lstm))
    assert (layer.module, layer.cell, layer.assumptions) == ("rnn", "lstm", ())


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        ("rnn.weight_hh_l0", "rnn.bias_l0"),
        ("rnn.weight_hh_l0", "rnn.bias"),
        ("rnn.w_hh", "rnn.b"),
        ("w_hh", "b"),
    ],
)
def test_a_single_bias_is_read(tmp_path, lstm, weight, bias):
    arrays = {weight: lstm["rnn.weight_hh_l0"], weight.replace("hh", "ih"): lstm["rnn.weight_ih_l0"]}
    layer = only(write_npz(tmp_path / "w.npz", {**arrays, bias: lstm["rnn.bias_ih_l0"]}))
    np.testing.assert_array_equal(layer.bias_ih, lstm["rnn.bias_ih_l0"])
    assert layer.bias_hh is None
    assert bias in layer.parameters


def test_a_head_of_another_length_is_no_bias_of_a_top_level_cell(tmp_path, lstm):
    arrays = {name.removeprefix("rnn."): array for name, array in lstm.items() if "weight" in name}
    found = read_weights(write_npz(tmp_path / "w.npz", {**arrays, "bias": np.ones(7), "weight": np.ones((7, 4))}))
    assert found.layers[0].bias_ih is None
    assert "bias" in found.other_arrays


@pytest.mark.parametrize(
    "names", [("{}_g", "{}_v"), ("parametrizations.{}.original0", "parametrizations.{}.original1")]
)
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_is_computed(tmp_path, lstm, names, dim):
    """PyTorch's _weight_norm(v, g, dim): each slice along dim has length g; dim None is the whole matrix."""
    v = lstm.pop("rnn.weight_hh_l0")
    rng = np.random.default_rng(8)
    if dim is None:
        g = np.array(2.5)
        wanted = 2.5 * v / np.linalg.norm(v)
    else:
        g = rng.uniform(0.5, 2, (16, 1) if dim == 0 else (1, 4))
        wanted = v * g / np.linalg.norm(v, axis=1 - dim, keepdims=True)
    arrays = {**lstm, **{f"rnn.{n.format('weight_hh_l0')}": a for n, a in zip(names, (g, v), strict=True)}}
    layer = only(saved(tmp_path, arrays))
    np.testing.assert_allclose(layer.weight_hh, wanted, rtol=ROUNDING)
    assert layer.module == "rnn"
    assert any("weight_norm" in sentence for sentence in layer.assumptions)


def test_spectral_norm_is_computed_from_its_stored_vectors(tmp_path, lstm):
    W = lstm.pop("rnn.weight_hh_l0")
    left, sizes, right = np.linalg.svd(W)
    parts = {"_orig": W, "_u": left[:, 0], "_v": right[0]}
    layer = only(saved(tmp_path, {**lstm, **{f"rnn.weight_hh_l0{end}": array for end, array in parts.items()}}))
    np.testing.assert_allclose(layer.weight_hh, W / sizes[0], rtol=ROUNDING)


def test_another_parametrisation_is_a_question(tmp_path, lstm):
    lstm["rnn.parametrizations.weight_hh_l0.original"] = lstm.pop("rnn.weight_hh_l0")
    with pytest.raises(InputError, match=r"parametrisation that the file alone does not settle.*remove_parametriz"):
        read_weights(saved(tmp_path, lstm))


@pytest.mark.parametrize("wrapped", [False, True])
def test_weight_drop_runs_the_raw_weight(tmp_path, lstm, wrapped):
    """AWD-LSTM: the plain weight is the last masked copy; fastai keeps the raw one in the wrapper's own scope."""
    raw = lstm["rnn.weight_hh_l0"] + 1
    inner = {name.replace("rnn.", "rnn.module.") if wrapped else name: array for name, array in lstm.items()}
    layer = only(saved(tmp_path, {**inner, "rnn.weight_hh_l0_raw": raw, "decoder.weight": np.ones((9, 4))}))
    np.testing.assert_array_equal(layer.weight_hh, raw)
    assert any("WeightDrop" in sentence for sentence in layer.assumptions)


BESIDE = {
    "rnn.layernorm_i.weight": ((4,), "a normalisation"),
    "rnn.ln_ih.bias": ((16,), "a normalisation"),
    "rnn.weight_ci": ((4,), "a peephole connection"),
    "rnn.h0": ((1, 4), "a start state"),
    "rnn.attention.weight": ((4, 4), "a parameter"),
}


@pytest.mark.parametrize(("name", "kind"), BESIDE.items())
def test_a_tensor_beside_the_cell_is_a_question_with_a_key(tmp_path, lstm, name, kind):
    shape, what = kind
    path = saved(tmp_path, {**lstm, name: np.ones(shape)})
    with pytest.raises(InputError, match=f"'{name}' stands beside.*{what}.*ignore={name}"):
        read_weights(path)
    layer = only(path, ignore=name)
    assert layer.cell == "lstm"
    assert any(f"'{name}' is left out" in sentence for sentence in layer.assumptions)
    assert name in read_weights(path, ignore="rnn.*").skipped


@pytest.mark.parametrize("name", ["ln_ih.weight", "layernorm.weight", "weight_cf", "h0", "norm_hh.bias"])
def test_at_the_top_level_what_names_itself_counts(tmp_path, lstm, name):
    arrays = {key.removeprefix("rnn."): array for key, array in lstm.items()}
    with pytest.raises(InputError, match=f"'{name}' stands beside"):
        read_weights(write_npz(tmp_path / "w.npz", {**arrays, name: np.ones(4)}))
    head = {"fc.weight": np.ones((9, 4)), "embedding.weight": np.ones((9, 3)), "conv.bias": np.ones(3)}
    assert only(write_npz(tmp_path / "h.npz", {**arrays, **head})).cell == "lstm"


def test_what_stands_outside_the_module_is_no_matter(tmp_path, lstm):
    outside = {"norm.weight": np.ones(4), "rnn_norm.weight": np.ones(4), "fc.bias": np.ones(2), "h0": np.ones(4)}
    assert only(saved(tmp_path, {**lstm, "rnn2.x": np.ones(2), "norm.weight": outside["norm.weight"]})).cell == "lstm"


def test_a_projection_that_does_not_fit_is_named(tmp_path, lstm):
    for shape in [(2, 4), (4, 3), (4,), (0, 4)]:
        lstm["rnn.weight_hr_l0"] = np.ones(shape)
        with pytest.raises(InputError, match=r"weight_hr_l0' should be a projection \(P, H\) beside"):
            read_weights(saved(tmp_path, lstm))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rnn.weight_hh_l0": np.full((16, 4), np.nan)}, "finite"),
        ({"rnn.weight_ih_l0": np.ones((15, 3))}, "16 rows"),
        ({"rnn.ln.weight": np.ones(4)}, "stands beside"),
        ({"rnn.weight_hh_l0": np.ones((16, 4), dtype=np.int64)}, "int64"),
    ],
)
def test_one_bad_module_leaves_the_others_reachable(tmp_path, lstm, change, reason):
    good = {name.replace("rnn", "good"): array for name, array in lstm.items()}
    path = saved(tmp_path, {**good, **lstm, **change})
    found = read_weights(path)
    assert select_layers(found, param="good")[0].module == "good"
    with pytest.raises(InputError, match=rf"param=good \(lstm 3→4\).*param=rnn \(cannot be read.*{reason}"):
        select_layers(found)
    with pytest.raises(InputError, match=reason):
        select_layers(found, param="rnn")


def test_a_quantised_state_dict_says_so(tmp_path):
    arrays = {"lstm._all_weight_values.0.zero_point": np.ones(1), "fc._packed_params.scale": np.ones(1)}
    with pytest.raises(InputError, match=r"quantised.*float model"):
        read_weights(saved(tmp_path, arrays))


def test_an_object_array_beside_the_weights_is_passed_over(tmp_path, lstm):
    """numpy.savez(config={...}) pickles its configuration: it is never opened, and takes nothing down."""
    np.savez(tmp_path / "w.npz", **lstm, config=np.array({"hidden": 4}), table=np.zeros(2, dtype="f4,i4"))
    found = read_weights(tmp_path / "w.npz")
    assert found.layers[0].cell == "lstm"
    assert {"config", "table"} <= set(found.skipped)


def normalised_step(W, U, b, s, x):
    """One step of an lstm whose gates are layer-normalised each, without gain or shift; complex numbers allowed."""
    h, c = s[:4], s[4:]
    p = (W @ h + U @ x + b).reshape(4, 4)
    centred = p - p.mean(axis=1, keepdims=True)
    i, f, g, o = centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5)
    i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
    c = f * c + i * np.tanh(g)
    return np.concatenate([o * np.tanh(c), c])


@pytest.mark.parametrize("affine", [False, True])
def test_a_layer_norm_without_gain_and_shift_is_read(tmp_path, lstm, affine):
    """nn.LayerNorm(4, elementwise_affine=False) leaves nothing in a file, a fresh affine one leaves ones and zeros."""
    import gradscope

    extra = {"rnn.ln.weight": np.ones(4), "rnn.ln.bias": np.zeros(4)} if affine else {}
    path = saved(tmp_path, {**lstm, **extra})
    x = np.random.default_rng(2).standard_normal((3, lstm["rnn.weight_ih_l0"].shape[1]))
    result = gradscope.gradients(f"{path}:norm=layer", inputs=x, loss="none").results[0]
    W, U = lstm["rnn.weight_hh_l0"].astype(float), lstm["rnn.weight_ih_l0"].astype(float)
    b = lstm["rnn.bias_ih_l0"].astype(float) + lstm["rnn.bias_hh_l0"].astype(float)
    s, product, steps = np.zeros(8), np.eye(8), []
    for row in x:
        columns = [normalised_step(W, U, b, s + 1e-30j * e, row).imag / 1e-30 for e in np.eye(8)]
        steps.append(np.stack(columns, axis=1))
        s = normalised_step(W, U, b, s, row)
    for lag, J in enumerate(reversed(steps), start=1):
        product = product @ J
        assert result.columns["log10_norm"][lag] == pytest.approx(np.log10(np.linalg.norm(product, 2)), abs=1e-9)
    assert any("has gain 1 or shift 0" in said for said in result.warnings) == affine


def test_a_layer_norm_with_a_gain_is_still_a_question(tmp_path, lstm):
    path = saved(tmp_path, {**lstm, "rnn.ln.weight": np.full(4, 1.5), "rnn.ln.bias": np.zeros(4)})
    with pytest.raises(InputError, match="norm=layer if it only brings each gate's"):
        read_weights(path)
    with pytest.raises(InputError, match="norm=layer has gain 1 and shift 0, and this has others"):
        read_weights(path, norm="layer")


def test_a_start_state_says_where_to_give_it(tmp_path, lstm):
    with pytest.raises(InputError, match="give it as --state"):
        read_weights(saved(tmp_path, {**lstm, "rnn.h0": np.ones(4)}))
