"""PyTorch checkpoints, written here by hand, opcode by opcode: both containers, and pickles that would run code."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_weights, select_layers

STORAGE = {"f8": "DoubleStorage", "f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage"}
ROUNDING = 1e-13  # a few dozen roundings of O(1), as in test_named_tensors


class _Named:
    """Pickles as a global name that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __reduce__(self):  # never used: the pickler below writes GLOBAL itself
        raise AssertionError


class _Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args


class TorchPickler(pickle._Pickler):
    """Writes what torch.save writes (torch/serialization.py), without torch: globals by name, storages by id."""

    def persistent_id(self, obj):
        return obj if isinstance(obj, tuple) and obj and obj[0] == "storage" else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Named):
            self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def dumps(obj, protocol=2):
    out = io.BytesIO()
    TorchPickler(out, protocol).dump(obj)
    return out.getvalue()


class Checkpoint:
    """Collects storages while tensors are turned into their pickled form."""

    def __init__(self, legacy=False):
        self.legacy, self.storages = legacy, {}

    def tensor(self, array, *, parameter=False, storage=None, offset=0, stride=None, kind=None):
        array = np.asarray(array)
        flat = np.ascontiguousarray(array).ravel() if storage is None else storage
        key = str(len(self.storages))
        self.storages[key] = flat
        kind = kind or STORAGE[array.dtype.str[1:]]
        place = ("storage", _Named("torch", kind), key, "cpu", flat.size) + ((None,) if self.legacy else ())
        if stride is None:
            stride = tuple(int(s // array.itemsize) for s in np.array(array, order="C").strides)
        hooks = _Call(_Named("collections", "OrderedDict"))
        rebuilt = _Call(_Named("torch._utils", "_rebuild_tensor_v2"), place, offset, array.shape, stride, False, hooks)
        if parameter:
            hooks = _Call(_Named("collections", "OrderedDict"))
            return _Call(_Named("torch._utils", "_rebuild_parameter"), rebuilt, True, hooks)
        return rebuilt

    def state_dict(self, arrays, **options):
        return collections.OrderedDict((name, self.tensor(array, **options)) for name, array in arrays.items())

    def write(self, path, obj):
        if self.legacy:
            out = dumps(0x1950A86A20F9469CFC6C) + dumps(1001)
            out += dumps(
                {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
            )
            out += dumps(obj) + dumps(list(self.storages))
            for flat in self.storages.values():
                out += struct.pack("<q", flat.size) + flat.tobytes()
            path.write_bytes(out)
        else:
            with zipfile.ZipFile(path, "w") as members:
                members.writestr("archive/data.pkl", dumps(obj))
                members.writestr("archive/byteorder", "little")
                for key, flat in self.storages.items():
                    members.writestr(f"archive/data/{key}", flat.tobytes())
                members.writestr("archive/version", "3\n")
        return path


@pytest.fixture(params=[False, True], ids=["zip", "before 1.6"])
def checkpoint(request):
    return Checkpoint(legacy=request.param)


def test_the_magic_is_the_documented_one(tmp_path):
    path = Checkpoint(legacy=True).write(tmp_path / "w.pt", {})
    assert path.read_bytes().startswith(bytes.fromhex("80028a0a6cfc9c46f920"))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("parameter", [False, True])
def test_state_dict_computes_what_pytorch_says(tmp_path, forward, checkpoint, cell, parameter):
    rng = np.random.default_rng(11)
    p = forward.torch_parameters(rng, forward.blocks[cell], 3, 4, layers=2, bidirectional=True)
    path = checkpoint.write(tmp_path / "w.pth", checkpoint.state_dict(p, parameter=parameter))
    found = select_layers(read_weights(path))
    assert len(found) == 4
    for w in found:
        x = rng.standard_normal((5, w.input_size))
        end = f"_l{w.layer}" + ("_reverse" if w.direction == "backward" else "")
        wanted = forward.torch[cell](p, x[::-1] if w.direction == "backward" else x, suffix=end)
        np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)


def test_nested_beside_an_optimiser_and_dataparallel(tmp_path, forward, checkpoint):
    rng = np.random.default_rng(2)
    p = forward.torch_parameters(rng, 4, 3, 2)
    state = checkpoint.state_dict({f"module.encoder.rnn.{k}": v.astype("f4") for k, v in p.items()})
    state["module.fc.weight"] = checkpoint.tensor(np.ones((5, 2), "f4"))
    moments = {i: {"step": 10, "exp_avg": checkpoint.tensor(np.zeros((8, 3), "f4"))} for i in range(4)}
    saved = {
        "epoch": 3,
        "best": 0.25,
        "note": "été",
        "big": 2**70,
        "state_dict": state,
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1, 2, 3]}]},
    }
    weights = read_weights(checkpoint.write(tmp_path / "w.pt", saved))
    (w,) = weights.layers
    assert (w.module, w.dtype) == ("encoder.rnn", "float32")
    np.testing.assert_array_equal(w.weight_ih, p["weight_ih_l0"].astype("f4"))
    assert list(weights.other_arrays) == ["fc.weight"]
    assert "optimizer.state.0.exp_avg" in weights.skipped


def test_two_state_dicts_keep_their_names(tmp_path, forward, checkpoint):
    p = forward.torch_parameters(np.random.default_rng(2), 3, 2, 2)
    saved = {"encoder": checkpoint.state_dict(p), "decoder": checkpoint.state_dict(p)}
    saved["head"] = checkpoint.state_dict({"weight": np.ones((4, 2)), "bias": np.ones(4)})
    weights = read_weights(checkpoint.write(tmp_path / "w.pt", saved))
    assert [w.module for w in weights.layers] == ["decoder", "encoder"]
    assert set(weights.other_arrays) == {"head.weight", "head.bias"}


def test_views_strides_and_bfloat16(tmp_path, checkpoint):
    flat = np.arange(20.0)
    transposed = checkpoint.tensor(np.zeros((4, 3)), storage=flat, offset=2, stride=(1, 4))
    bits = (np.array([[1.5, -2.0], [0.25, 3.0]], "<f4").view("<u4") >> 16).astype("<u2").ravel()
    half = checkpoint.tensor(np.zeros((2, 2)), storage=bits, kind="BFloat16Storage", stride=(2, 1))
    saved = {
        "a.weight_ih": transposed,
        "a.weight_hh": checkpoint.tensor(np.eye(4)),
        "b.weight_ih": half,
        "b.weight_hh": half,
    }
    weights = read_weights(checkpoint.write(tmp_path / "w.pt", saved))
    a, b = weights.layers
    np.testing.assert_array_equal(a.weight_ih, [[2 + i + 4 * j for j in range(3)] for i in range(4)])
    np.testing.assert_array_equal(b.weight_hh, [[1.5, -2.0], [0.25, 3.0]])
    assert b.dtype == "bfloat16"


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("container", ["zip", "bare", "legacy"])
def test_a_pickle_that_would_run_code_does_not(tmp_path, protocol, container):
    target = tmp_path / "ran"
    evil = pickle.dumps({"weight_ih": 1, "x": Bomb(target)}, protocol)
    path = tmp_path / "w.pt"
    if container == "zip":
        with zipfile.ZipFile(path, "w") as members:
            members.writestr("archive/data.pkl", evil)
    else:
        path.write_bytes(dumps(0x1950A86A20F9469CFC6C) + dumps(1001) + evil if container == "legacy" else evil)
    with pytest.raises(InputError, match=r"system.*state_dict"):
        read_weights(path)
    assert not target.exists()
    pickle.loads(evil)  # the same bytes do run where pickle is trusted: the test has teeth
    assert target.exists()


@pytest.mark.parametrize(
    ("obj", "match"),
    [
        (_Call(_Named("torch.nn.modules.rnn", "LSTM"), 3), "torch.nn.modules.rnn.LSTM"),
        (_Call(_Named("torch._utils", "_rebuild_qtensor"), 3), "_rebuild_qtensor"),
        (_Call(_Named("torch.storage", "_load_from_bytes"), b"x"), "_load_from_bytes"),
        (_Call(_Named("argparse", "Namespace")), "argparse.Namespace"),
        (_Call(_Named("builtins", "eval"), "1"), "builtins.eval"),
    ],
)
def test_other_objects_are_refused_by_name(tmp_path, checkpoint, obj, match):
    path = checkpoint.write(tmp_path / "w.pt", {"state_dict": {}, "hyper": obj})
    with pytest.raises(InputError, match=match):
        read_weights(path)


@pytest.mark.parametrize(
    "geometry",
    [
        {"offset": 1},
        {"stride": (3, 1)},
        {"stride": (1 << 60, 1)},
        {"offset": -1},
        {"stride": (-2, 1)},
        {"stride": (0, 0)},
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, checkpoint, geometry):
    flat = np.zeros(3 if geometry.get("stride") == (0, 0) else 4)
    options = {"stride": (2, 1), **geometry}
    bad = checkpoint.tensor(np.zeros((2, 2)), storage=flat, **options)
    path = checkpoint.write(tmp_path / "w.pt", {"weight_ih": bad, "weight_hh": bad})
    with pytest.raises(InputError, match=r"pickle has a tensor|impossible size"):
        read_weights(path)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02" + b"(" * 1000 + b".",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02]" + b"q\x00" + b"h\x00a" * 3 + b".",  # a list that holds itself
        b"\x80\x02}" + b"\x85" * 100_000 + b"Ns.",  # a key of 100,000 nested tuples
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # a memo index that makes CPython's unpickler allocate 32 GB
        b"\x80\x02I" + b"9" * 900 + b"\n.",
        b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00u.",
    ],
)
def test_hostile_pickles_end_in_one_sentence(tmp_path, program):
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("archive/data.pkl", program)
    with pytest.raises(InputError):
        read_weights(path)


def test_shared_containers_are_walked_once(tmp_path):
    """30 dictionaries, each holding the next one twice: 2^30 paths, 30 objects."""
    inner = {"weight_ih": 1.0}
    for _ in range(30):
        inner = {"a": inner, "b": inner}
    path = Checkpoint().write(tmp_path / "w.pt", inner)
    with pytest.raises(InputError, match="should hold a recurrent layer"):
        read_weights(path)


def test_truncated_legacy_file(tmp_path):
    checkpoint = Checkpoint(legacy=True)
    state = checkpoint.state_dict({"weight_ih": np.ones((4, 3)), "weight_hh": np.eye(4)})
    path = checkpoint.write(tmp_path / "w.pt", state)
    whole = path.read_bytes()
    for cut in (1, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError):
            read_weights(path)


@pytest.mark.torch
@pytest.mark.parametrize("new_container", [True, False])
@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_round_trip_with_torch(tmp_path, forward, cell, new_container):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = getattr(torch.nn, cell)(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
    path = tmp_path / "w.pt"
    torch.save({"model": net.state_dict(), "epoch": 1}, path, _use_new_zipfile_serialization=new_container)
    found = select_layers(read_weights(path))
    x = torch.randn(6, 3, dtype=torch.float64)
    wanted = net(x)[0].detach().numpy()
    below = x.numpy()
    for layer in range(2):
        forward_w, backward_w = (w for w in found if w.layer == layer)
        below = np.hstack([forward.run(forward_w, below), forward.run(backward_w, below)[::-1]])
    np.testing.assert_allclose(below, wanted, rtol=0, atol=ROUNDING)


def test_thousands_of_tensors_in_one_storage_are_refused(tmp_path):
    """Tied weights share bytes; 3000 modules that do would fill the memory from one small file."""
    checkpoint = Checkpoint()
    flat = np.zeros(10_000)
    shared = checkpoint.tensor(np.zeros((100, 100)), storage=flat, stride=(100, 1))
    saved = {f"m{index}.weight_{kind}": shared for index in range(3000) for kind in ("ih", "hh")}
    with pytest.raises(InputError, match="would take 480000000 bytes, more than a file of"):
        read_weights(checkpoint.write(tmp_path / "w.pt", saved))
