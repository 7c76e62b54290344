"""npz and safetensors with PyTorch names: read by function value; every convention assumed is said."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.sources.files import read_matrices, read_weights, select_layers

# Two orders of summation over at most 8 terms, saturating non-linearities, 6 steps: a few dozen roundings of O(1).
ROUNDING = 1e-13


def write_safetensors(path, arrays, *, dtypes=None):
    header, data = {}, b""
    for name, array in arrays.items():
        array = np.asarray(array)
        code = (dtypes or {}).get(name) or {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64"}[array.dtype.str[1:]]
        raw = array.tobytes()
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_npz(path, arrays):
    np.savez(path, **arrays)
    return path


WRITERS = {".npz": write_npz, ".safetensors": write_safetensors}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (2, True)])
def test_every_layer_computes_what_pytorch_says(tmp_path, forward, suffix, cell, layers, bidirectional):
    rng = np.random.default_rng(7)
    p = forward.torch_parameters(rng, forward.blocks[cell], 3, 4, layers=layers, bidirectional=bidirectional)
    path = WRITERS[suffix](tmp_path / f"w{suffix}", {f"net.core.{name}": array for name, array in p.items()})
    found = select_layers(read_weights(path))
    assert [(w.layer, w.direction) for w in found] == [
        (layer, d) for layer in range(layers) for d in (("forward", "backward") if bidirectional else ("forward",))
    ]
    for w in found:
        assert w.module == "net.core"
        x = rng.standard_normal((6, w.input_size))
        end = f"_l{w.layer}" + ("_reverse" if w.direction == "backward" else "")
        wanted = forward.torch[cell](p, x[::-1] if w.direction == "backward" else x, suffix=end)
        np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_permuted_gate_a_transposed_matrix_a_swapped_bias_would_show(tmp_path, forward, cell):
    """The comparison above has teeth: each classic misreading moves the output by far more than rounding."""
    from dataclasses import replace

    rng = np.random.default_rng(8)
    p = forward.torch_parameters(rng, forward.blocks[cell], 4, 4)
    (w,) = read_weights(write_npz(tmp_path / "w.npz", p)).layers
    x = rng.standard_normal((6, 4))
    wanted = forward.torch[cell](p, x)
    n = w.hidden_size
    order = np.r_[n : 2 * n, 0:n, 2 * n : len(w.weight_hh)]
    blocks = w.weight_hh.reshape(-1, n, n)
    misread = {
        "gates": replace(w, weight_ih=w.weight_ih[order], weight_hh=w.weight_hh[order]),
        "transposed": replace(w, weight_hh=blocks.swapaxes(1, 2).reshape(-1, n)),
        "input transposed": replace(w, weight_ih=w.weight_ih.reshape(-1, n, 4).swapaxes(1, 2).reshape(-1, 4)),
    }
    if cell == "gru":  # where the two biases do different things
        misread["biases"] = replace(w, bias_ih=w.bias_hh, bias_hh=w.bias_ih)
        misread["reset"] = replace(w, reset="before")
    for name, wrong in misread.items():
        assert np.abs(forward.run(wrong, x) - wanted).max() > 1e-3, name


@pytest.mark.parametrize(
    ("names", "module"),
    [
        (("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), ""),
        (("weight_ih", "weight_hh", "bias_ih", "bias_hh"), ""),
        (("lstm_cell.weight_ih", "lstm_cell.weight_hh", "lstm_cell.bias_ih", "lstm_cell.bias_hh"), "lstm_cell"),
        (("enc_w_ih", "enc_w_hh", "enc_b_ih", "enc_b_hh"), "enc"),
        (("w_ih", "w_hh", "b_ih", "b_hh"), ""),
        (("a/b/w_ih_l0", "a/b/w_hh_l0", "a/b/b_ih_l0", "a/b/b_hh_l0"), "a/b"),
    ],
)
def test_spellings(tmp_path, names, module):
    rng = np.random.default_rng(0)
    arrays = dict(zip(names, (rng.random((8, 3)), rng.random((8, 2)), rng.random(8), rng.random(8)), strict=True))
    (w,) = read_weights(write_safetensors(tmp_path / "w.safetensors", arrays)).layers
    assert (w.module, w.cell, w.layer, w.direction) == (module, "lstm", 0, "forward")
    for found, name in zip((w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh), names, strict=True):
        np.testing.assert_array_equal(found, arrays[name])
    assert w.parameters == names


def test_words_that_end_like_a_name_are_no_weights(tmp_path):
    arrays = {"raw_ih": np.ones((2, 2)), "raw_hh": np.ones((2, 2)), "rnn.weight_ih": np.ones((2, 3))}
    arrays["rnn.weight_hh"] = np.ones((2, 2))
    weights = read_weights(write_npz(tmp_path / "w.npz", arrays))
    assert [w.module for w in weights.layers] == ["rnn"]
    assert weights.skipped == ("raw_ih", "raw_hh")


def test_biases_may_be_missing(tmp_path):
    arrays = {"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.eye(4), "bias_ih_l0": np.ones(4)}
    (w,) = read_weights(write_npz(tmp_path / "w.npz", arrays)).layers
    assert w.bias_hh is None
    np.testing.assert_array_equal(w.bias_ih, np.ones(4))


def test_dataparallel_prefix_is_dropped(tmp_path):
    arrays = {"module.rnn.weight_ih_l0": np.ones((4, 3)), "module.rnn.weight_hh_l0": np.eye(4)}
    assert read_weights(write_npz(tmp_path / "w.npz", arrays)).layers[0].module == "rnn"
    arrays["fc.weight"] = np.ones((2, 4))  # not every name carries it: then it is a name like any other
    assert read_weights(write_npz(tmp_path / "w.npz", arrays)).layers[0].module == "module.rnn"


@pytest.mark.parametrize("cell", ["rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"])
def test_cell_key(tmp_path, cell):
    blocks = {"rnn": 1, "skip": 1, "forget-gate": 2, "input-gate": 3, "lstm": 4, "gru": 3}[cell]
    arrays = {"weight_ih": np.ones((blocks * 2, 3)), "weight_hh": np.ones((blocks * 2, 2))}
    path = write_npz(tmp_path / "w.npz", arrays)
    (w,) = read_weights(path, cell=cell).layers
    assert (w.cell, w.facts_from["cell"]) == (cell, "key")
    assert not any("read as" in sentence for sentence in w.assumptions)


def test_conventions_are_said_with_the_key_that_settles_them(tmp_path):
    gru = write_npz(tmp_path / "g.npz", {"weight_ih": np.ones((6, 3)), "weight_hh": np.ones((6, 2))})
    (w,) = read_weights(gru).layers
    said = " ".join(w.assumptions)
    assert "cell=input-gate" in said
    assert "reset=before" in said
    assert "r,z,n" in said
    (w,) = read_weights(gru, cell="gru", reset="before").layers
    assert (w.reset, w.facts_from["reset"]) == ("before", "key")
    rnn = write_npz(tmp_path / "r.npz", {"weight_ih": np.ones((2, 3)), "weight_hh": np.ones((2, 2))})
    assert any("activation=relu" in sentence for sentence in read_weights(rnn).layers[0].assumptions)
    assert read_weights(rnn, activation="relu").layers[0].activation == "relu"


def test_two_gate_blocks_are_a_question(tmp_path):
    path = write_npz(tmp_path / "w.npz", {"weight_ih": np.ones((4, 3)), "weight_hh": np.ones((4, 2))})
    with pytest.raises(InputError, match=r"2 gate blocks.*cell=forget-gate"):
        read_weights(path)


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"cell": "lsmt"}, UsageError, "Did you mean 'lstm'"),
        ({"activation": "gelu"}, UsageError, "tanh, sigmoid, relu, identity"),
        ({"gate_activation": "hard"}, UsageError, "hard_sigmoid"),
        ({"cell": "lstm", "reset": "after"}, UsageError, "key of gru"),
        ({"cell": "rnn"}, InputError, "cell=rnn has 1 gate blocks .u., but weight_hh has 4; cells that fit: lstm"),
        ({"reset": "before"}, UsageError, "the cell is lstm"),
    ],
)
def test_keys_that_do_not_fit(tmp_path, keys, error, match):
    path = write_npz(tmp_path / "w.npz", {"weight_ih": np.ones((8, 3)), "weight_hh": np.ones((8, 2))})
    with pytest.raises(error, match=match):
        read_weights(path, **keys)


def test_a_key_that_fits_one_module_only_is_a_question_about_the_other(tmp_path):
    arrays = {"a.weight_ih": np.ones((8, 3)), "a.weight_hh": np.ones((8, 2))}
    arrays |= {"b.weight_ih": np.ones((2, 3)), "b.weight_hh": np.ones((2, 2))}
    weights = read_weights(write_npz(tmp_path / "w.npz", arrays), cell="skip")
    assert select_layers(weights, param="b")[0].cell == "skip"
    with pytest.raises(InputError, match="cell=skip has 1 gate blocks"):
        select_layers(weights, param="a")


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_safetensors_dtypes(tmp_path, dtype):
    values = np.array([[0.5, -1.25], [3.0, 2.0**-10]])  # exact in all four
    if dtype == "BF16":
        stored = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    else:
        stored = values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
    path = write_safetensors(
        tmp_path / "w.safetensors",
        {"weight_ih": stored, "weight_hh": stored},
        dtypes=dict.fromkeys(("weight_ih", "weight_hh"), dtype),
    )
    (w,) = read_weights(path).layers
    np.testing.assert_array_equal(w.weight_hh, values)
    assert w.dtype == {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]


def test_agrees_with_the_safetensors_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(3)
    arrays = {"weight_ih_l0": rng.random((6, 3)).astype("f4"), "weight_hh_l0": rng.random((6, 2)).astype("f4")}
    arrays["steps"] = np.array(5)
    library.save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "np"})
    weights = read_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(weights.layers[0].weight_ih, arrays["weight_ih_l0"])
    assert weights.other_arrays["steps"] == 5


def test_fortran_and_big_endian_and_compressed_npz(tmp_path):
    rng = np.random.default_rng(1)
    w_ih, w_hh = rng.random((6, 3)), rng.random((6, 2))
    np.savez_compressed(tmp_path / "w.npz", weight_ih=np.asfortranarray(w_ih), weight_hh=w_hh.astype(">f8"))
    (w,) = read_weights(tmp_path / "w.npz").layers
    np.testing.assert_array_equal(w.weight_ih, w_ih)
    np.testing.assert_array_equal(w.weight_hh, w_hh)
    assert w.weight_hh.dtype == np.float64
    assert w.weight_hh.dtype.isnative


def test_selection(tmp_path):
    arrays = {}
    for module in ("enc", "dec", "deep.core"):
        for layer in range(2):
            arrays[f"{module}.weight_ih_l{layer}"] = np.ones((4, 3 if layer == 0 else 4))
            arrays[f"{module}.weight_hh_l{layer}"] = np.eye(4)
    weights = read_weights(write_npz(tmp_path / "w.npz", arrays))
    with pytest.raises(InputError, match=r"several recurrent modules: param=dec \(rnn 3→4, 2 layers\)") as refused:
        select_layers(weights)
    assert "w.npz:param=dec" in str(refused.value)
    assert [w.layer for w in select_layers(weights, param="deep*")] == [0, 1]
    assert [w.layer for w in select_layers(weights, param="enc", layer=1)] == [1]
    with pytest.raises(InputError, match=r"param=end matches no recurrent module; found .*Did you mean 'enc'"):
        select_layers(weights, param="end")
    with pytest.raises(InputError, match=r"has no layer 2; it has 0, 1"):
        select_layers(weights, param="enc", layer=2)
    with pytest.raises(InputError, match=r"has no backward direction; it has forward"):
        select_layers(weights, param="enc", direction="backward")
    with pytest.raises(UsageError, match="forward, backward"):
        select_layers(weights, param="enc", direction="up")


def test_top_level_module_can_be_named(tmp_path):
    arrays = {"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.eye(4), "b.weight_ih": np.ones((4, 3))}
    arrays["b.weight_hh"] = np.eye(4)
    weights = read_weights(write_npz(tmp_path / "w.npz", arrays))
    for spelling in ("", "(top level)"):
        assert select_layers(weights, param=spelling)[0].module == ""


def test_matrices(tmp_path):
    rng = np.random.default_rng(0)
    W, J = rng.random((3, 3)), rng.random((5, 2, 2)).astype("f4")
    np.save(tmp_path / "w.npy", W)
    np.save(tmp_path / "j.npy", np.asfortranarray(J))
    np.savez(tmp_path / "j.npz", jacobians=J, lengths=np.arange(3))
    read = read_matrices(tmp_path / "w.npy")
    np.testing.assert_array_equal(read.values, W)
    assert not read.are_jacobians
    for name in ("j.npy", "j.npz"):
        read = read_matrices(tmp_path / name)
        np.testing.assert_array_equal(read.values, J)
        assert (read.are_jacobians, read.dtype, len(read.sha256)) == (True, "float32", 64)
