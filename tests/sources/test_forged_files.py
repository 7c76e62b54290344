"""Files whose sizes are products of two harmless ones: each ends at once, in little memory, with one sentence."""

import io
import json
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_weights
from tests.sources.test_torch_files import Checkpoint, dumps

SECONDS = 10.0  # a guard against files that never end; what a good machine takes is in docs/security.md
MEMORY = 200 << 20
PROTOCOL = b"\x80\x02"
STOP = b"."


def text(content):
    return b"X" + struct.pack("<I", len(content)) + content


def pickled(program):
    """A zip checkpoint around one pickle program."""

    def write(path, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", method) as members:
            members.writestr("archive/data.pkl", PROTOCOL + program + STOP)

    return write


def legacy(program):
    """The old container around the same."""

    def write(path):
        path.write_bytes(dumps(0x1950A86A20F9469CFC6C) + dumps(1001) + dumps({}) + PROTOCOL + program + STOP)

    return write


def deflated(program):
    return lambda path: pickled(program)(path, zipfile.ZIP_DEFLATED)


#: A tuple that holds the one before twice, forty times: 2^40 leaves in 200 bytes.
DOUBLED = b"K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
DEEP = b"N" + b"\x85" * 200_000
LONG_LIST = b"](" + b"K\x01" * 30_000 + b"eq\x00"
SIZE_OF_LIST = b"ctorch\nSize\nq\x01" + LONG_LIST + b"0" + b"h\x01h\x00\x85R0" * 10_000 + b"N"
LISTS_OF_LIST = SIZE_OF_LIST.replace(b"ctorch\nSize\n", b"cbuiltins\nlist\n")
STORAGE_KEY_DOUBLED = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + DOUBLED + text(b"cpu") + b"K\x01tQ"

PICKLES = {
    "doubled tuple as a key": b"}" + DOUBLED + b"Ns",
    "doubled tuple as a key of OrderedDict": b"ccollections\nOrderedDict\n](" + DOUBLED + b"N\x86e\x85R",
    "deep tuple as a key": b"}" + DEEP + b"Ns",
    "deep tuple as a class name": DEEP + DEEP + b"\x93",
    "doubled storage key": STORAGE_KEY_DOUBLED,
    "doubled extents of a tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00" + DOUBLED + DOUBLED + b"tR",
    "doubled arguments": b"ctorch._utils\n_rebuild_parameter\n" + DOUBLED + b"R",
    "a size of a long list, often": SIZE_OF_LIST,
    "a list of a long list, often": LISTS_OF_LIST,
    "a key of a megabyte": b"}" + text(b"a" * 1_000_000) + b"}q\x00(" + text(b"weight_hh") + b"Nus",
    "a class name of a megabyte": text(b"a" * 1_000_000) + text(b"b" * 1_000_000) + b"\x93",
    "a class of a module of a megabyte": b"c" + b"a" * 1_000_000 + b"\nb\n",
    "empty lists": b"]" * 900_000,
    "memos": b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(190_000)),
    "a set of a doubled tuple": b"cbuiltins\nset\n(](" + DOUBLED + b"etR",
}


def finished(path, match=r"^w\.", **keys):
    """The refusal of a file, within the time, then once more while the memory is watched."""
    begun = time.process_time()
    with pytest.raises(InputError, match=match) as caught:
        read_weights(path, **keys)
    assert time.process_time() - begun < SECONDS
    assert len(str(caught.value)) < 500
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match):
            read_weights(path, **keys)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize("container", [pickled, legacy, deflated])
@pytest.mark.parametrize("program", PICKLES.values(), ids=PICKLES)
def test_forged_pickles(tmp_path, container, program):
    container(program)(tmp_path / "w.pt")
    finished(tmp_path / "w.pt")


def test_long_keys_above_many_tensors(tmp_path):
    """The name of each tensor is the sum of the keys that lead to it."""
    checkpoint = Checkpoint()
    flat = np.zeros(4)
    tensor = checkpoint.tensor(flat)
    inner = {f"weight_hh_l{i}": tensor for i in range(3000)}
    for letter in "abcdefgh":
        inner = {letter * 900: inner}
    finished(checkpoint.write(tmp_path / "w.pt", inner), "a parameter's name")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_many_tensors_in_one_large_storage(tmp_path, method):
    """800 views of 60 MiB that deflate to 60 KB: unpacked once, not 800 times."""
    n = (60 << 20) // 8
    checkpoint = Checkpoint()
    flat = np.zeros(n)
    names = [f"m{i}.weight_{kind}" for i in range(400) for kind in ("ih", "hh")]
    views = {name: checkpoint.tensor(np.zeros((1, 1)), storage=flat) for name in names}
    place = views[names[0]].args[0]
    for view in views.values():
        view.args = (place, *view.args[1:])
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", method) as members:
        members.writestr("archive/data.pkl", dumps(views))
        members.writestr(f"archive/data/{place[2]}", flat.tobytes())
    begun = time.process_time()
    assert len(read_weights(path).layers) == 400
    assert time.process_time() - begun < 3 * SECONDS  # 400 honest modules


@pytest.mark.parametrize("legacy_container", [False, True])
def test_a_wrapper_repeated_in_a_name(tmp_path, legacy_container):
    checkpoint = Checkpoint(legacy=legacy_container)
    state = checkpoint.state_dict({"module." * 400_000 + "weight_hh": np.eye(2)})
    finished(checkpoint.write(tmp_path / "w.pt", state), "a key of 2800009 characters")


def safetensors(path, header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)
    return path


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"{" + b'"a":' + b"[" + b"[]," * 8_000_000 + b"0]}", "no dtype, shape and data_offsets"),
        (b"{" + b'"a":{"dtype":"F32","shape":[' + b"1," * 8_000_000 + b'1],"data_offsets":[0,4]}}', "no dtype, shape"),
        (b'{"' + b"a" * 20_000_000 + b'":{}}', "a tensor's name of 20000000"),
        (b'{"__metadata__":{' + b'"a":"b",' * 2_000_000 + b'"c":"d"}}', "^w.safe"),
        (b'{"__metadata__":' + b"[" * 2_000_000 + b"}", "'__metadata__' has no"),
        (b"{" + b'"\\' * 8_000_000 + b"}", "^w.safe"),
        (b"{" + b" " * 20_000_000 + b"}", "^w.safe"),
        (
            b"{"
            + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(60_000))
            + b"}",
            "more than 50000 tensors",
        ),
    ],
)
def test_forged_safetensors_headers(tmp_path, header, match):
    finished(safetensors(tmp_path / "w.safetensors", header), match)


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "match"),
    [
        (b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2), b"1234", "'a' stands twice"),
        (b'{"a":%s,"\\u0061":%s}' % ((json.dumps(F32).encode(),) * 2), b"1234", "'a' stands twice"),
        (b'{"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}}', b"1234", "lacks dtype"),
        ({"a": {**F32, "data_offsets": [4, 8]}}, b"12345678", "leave a hole of 4 bytes"),
        ({"a": F32, "b": {**F32, "data_offsets": [8, 12]}}, b"x" * 12, "leave a hole of 4 bytes"),
        ({"a": F32, "b": {**F32, "data_offsets": [2, 6]}}, b"x" * 6, "overlap"),
        ({"a": F32}, b"1234tail", "its tensors take 4 bytes, but 8 follow"),
        ({"a": {**F32, "dtype": "F99"}}, b"1234", "dtype 'F99'"),
        ({"a": {**F32, "shape": [2]}}, b"1234", "8 bytes for its shape"),
        ({"a": {**F32, "shape": [0, 1 << 47, 1 << 47], "data_offsets": [0, 0]}}, b"", "impossible shape"),
        ({"a": {**F32, "shape": [1] * 40}}, b"1234", "40 axes"),
        ({"__metadata__": {"format": 1}, "a": F32}, b"1234", "'__metadata__' has no"),
        (b'[{"a":1}]', b"", "not such a table|should hold weights"),
        (b'{"a":%s,}' % json.dumps(F32).encode(), b"1234", "not such a table"),
        (b'{"a":%s}x' % json.dumps(F32).encode(), b"1234", "not such a table"),
        (b'{"\\ud800":%s}' % json.dumps(F32).encode(), b"1234", "no text"),
    ],
)
def test_safetensors_are_as_strict_as_the_reference(tmp_path, header, data, match):
    finished(safetensors(tmp_path / "w.safetensors", header, data), match)


def test_safetensors_that_the_reference_writes(tmp_path):
    """Metadata with escapes and long values, padding, an empty tensor, float8 beside the weights."""
    header = {
        "__metadata__": {"format": "pt", "tags": 'a "quoted" {brace}, ' * 300, "empty": ""},
        "weight_ih": {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]},
        "weight_hh": {"dtype": "F64", "shape": [2, 2], "data_offsets": [32, 64]},
        "scale": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [64, 67]},
        "none": {"dtype": "I64", "shape": [0, 5], "data_offsets": [67, 67]},
        "schön": {"dtype": "BOOL", "shape": [], "data_offsets": [67, 68]},
    }
    content = json.dumps(header, ensure_ascii=False).encode() + b"  \n "
    data = np.eye(2).tobytes() + np.ones((2, 2)).tobytes() + b"abc" + b"\1"
    found = read_weights(safetensors(tmp_path / "w.safetensors", content, data))
    np.testing.assert_array_equal(found.layers[0].weight_hh, np.ones((2, 2)))
    assert {"scale", "none", "schön"} <= set(found.skipped)
    for empty in (b"{}", b'{"__metadata__": { }}', b'{"__metadata__":{}}'):
        finished(safetensors(tmp_path / "e.safetensors", empty), "no tensors")


def test_a_directory_of_a_million_members(tmp_path):
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 400_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04" + directory + end)
    finished(tmp_path / "w.npz", "the directory of its zip container")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_members_packed_by_other_methods(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", method) as members:
        members.writestr("weight_hh.npy", b"x" * 1000)
    finished(tmp_path / "w.npz", "compressed by a method")


def test_a_million_small_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as members:
        for i in range(10_001):
            members.writestr(f"{i}.npy", b"")
    finished(tmp_path / "w.npz", "more than 10000 arrays")


@pytest.mark.parametrize("shape", ["(0, 99999999999999999)", "(0, " + "9999999, " * 20 + ")", "(" + "1, " * 40 + ")"])
def test_npy_shapes_that_cannot_be(tmp_path, shape):
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    buffer = io.BytesIO(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as members:
        members.writestr("weight_hh.npy", buffer.getvalue())
    finished(tmp_path / "w.npz", "shape")
