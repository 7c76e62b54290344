"""Files that are missing, damaged, foreign or made to hurt: one or two lines that say what to do, and nothing else."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_matrices, read_weights

SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", ".h5", ".hdf5", ".keras", ".weights.h5", ".onnx")


def refused(path, *, match, reader=read_weights, **keys):
    """The reader refuses in at most two short lines."""
    with pytest.raises(InputError, match=match) as caught:
        reader(path, **keys)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 2
    assert len(str(caught.value)) < 500
    return str(caught.value)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


GOOD = {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2)), "bias_ih_l0": np.ones(8)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_directory_empty_garbage(tmp_path, suffix):
    refused(tmp_path / f"none{suffix}", match="no such file")
    (tmp_path / f"dir{suffix}").mkdir()
    refused(tmp_path / f"dir{suffix}", match="is a directory")
    empty = tmp_path / f"empty{suffix}"
    empty.write_bytes(b"")
    refused(empty, match="is empty")
    for content in (
        b"hello",
        b"\x00" * 200,
        b"\xff" * 200,
        b"<html></html>",
        b"PK\x03\x04",
        b"\x89HDF\r\n\x1a\n",
        b"\x80\x02",
    ):
        bad = tmp_path / f"bad{suffix}"
        bad.write_bytes(content)
        refused(bad, match=f"bad{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "w.npz")
    refused(tmp_path / "w.npz", match="device or pipe")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"some notes about the model\n", "it is text"),
        (b"\x1f\x8b\x08\0", "a gzip file; unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"\0" * 300, "zero bytes only"),
        (b"\xde\xad\xbe\xef" * 20, "binary data of no format"),
        (b"weights.pt" + b"\0" * 247 + b"ustar\x0000", "a tar archive"),
    ],
)
@pytest.mark.parametrize("name", ["w.pkl", "w", "w.npz", "w.h5", "w.ckpt"])
def test_foreign_content_is_named_whatever_the_suffix(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name, match=what)
    assert ".safetensors" in message  # the one sentence of formats
    refused(tmp_path / name, match="W_hh alone, or step Jacobians", reader=read_matrices)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5", ".onnx", ".pt", ".keras", ".bin", ".model", ""])
def test_content_decides_not_the_suffix(tmp_path, suffix):
    path = npz(tmp_path / "w.npz", **GOOD).rename(tmp_path / f"x{suffix}")
    assert read_weights(path).format == "npz"


def test_a_zip_of_something_else_is_named_by_its_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as members:
        members.writestr("classifier.keras", b"PK")
    refused(tmp_path / "m.zip", match=r"zip archive that holds 'classifier\.keras'.*unpack it")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"weight_hh_l0": np.full((8, 2), np.nan)}, r"'weight_hh_l0' should hold finite weights, but 16 of its 16"),
        ({"weight_ih_l0": np.full((8, 3), np.inf)}, "'weight_ih_l0' should hold finite"),
        ({"bias_ih_l0": np.r_[np.ones(7), -np.inf]}, "'bias_ih_l0'.* 1 of its 8"),
        ({"weight_hh_l0": np.ones((8, 2), dtype=int)}, "dtype is int64"),
        ({"weight_hh_l0": np.ones((8, 2), dtype=complex)}, "dtype is complex128"),
        ({"weight_hh_l0": np.ones((8, 2), dtype=bool)}, "dtype is bool"),
        ({"weight_hh_l0": np.array([[None] * 2] * 8)}, "'weight_hh_l0' is an object array"),
        ({"weight_hh_l0": np.array([["a"] * 2] * 8)}, "dtype is str"),
        ({"weight_hh_l0": np.zeros((8, 2), dtype=[("a", "f4")])}, "structured"),
        ({"weight_hh_l0": np.array(1.0)}, r"should be a matrix .* its shape is \(\)"),
        ({"weight_hh_l0": np.ones((0, 0))}, r"its shape is \(0, 0\)"),
        ({"weight_ih_l0": np.ones((8, 0))}, r"its shape is \(8, 0\)"),
        ({"weight_hh_l0": np.ones((1, 8, 2))}, r"its shape is \(1, 8, 2\)"),
        ({"weight_hh_l0": np.ones((8, 3))}, r"G·H rows for H columns .* \(8, 3\)"),
        ({"weight_hh_l0": np.ones((2, 8))}, "looks transposed"),
        ({"weight_ih_l0": np.ones((3, 8))}, "should have the 8 rows of 'weight_hh_l0'"),
        ({"bias_ih_l0": np.ones(6)}, r"'bias_ih_l0' should have shape \(8,\)"),
        ({"bias_ih_l0": np.ones((8, 1))}, r"'bias_ih_l0' should have shape \(8,\)"),
        ({"weight_hh_l0": np.ones((20, 2))}, "should have the 20 rows"),
        (
            {"weight_hh_l0": np.ones((20, 2)), "weight_ih_l0": np.ones((20, 3)), "bias_ih_l0": np.ones(20)},
            "10 gate blocks",
        ),
        ({"weight_hr_l0": np.ones((1, 2))}, "should be a projection"),
        ({"weight_hr_l0": np.ones((2, 0))}, "should be a projection"),
        ({"weight_ih_l1": np.ones((8, 5)), "weight_hh_l1": np.ones((8, 2))}, "should take the 2 outputs of layer 0"),
        ({"weight_ih_l2": np.ones((8, 2)), "weight_hh_l2": np.ones((8, 2))}, "a layer is missing"),
        ({"weight_ih_l1": np.ones((2, 2)), "weight_hh_l1": np.ones((2, 2))}, "one module is one cell"),
        ({"weight_ih_l1": np.ones((8, 2))}, "but no weight_hh"),
        ({"w_hh": np.ones((8, 2))}, "both name weight_hh"),
        (
            {
                "weight_ih_l0_reverse": np.ones((8, 3)),
                "weight_hh_l0_reverse": np.ones((8, 2)),
                "weight_ih_l1": np.ones((8, 4)),
                "weight_hh_l1": np.ones((8, 2)),
            },
            "unlike layer 0",
        ),
    ],
)
def test_weights_that_cannot_be(tmp_path, change, match):
    refused(npz(tmp_path / "w.npz", **{**GOOD, **change}), match=match)


def test_no_recurrent_weights(tmp_path):
    refused(npz(tmp_path / "w.npz", fc=np.ones((2, 2))), match=r"should hold a recurrent layer .* it has 'fc'")
    refused(npz(tmp_path / "w.npz"), match="it has no tensors")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((3, 2)), r"should be a square matrix .* its shape is \(3, 2\)"),
        (np.ones(3), r"its shape is \(3,\)"),
        (np.array(1.0), r"its shape is \(\)"),
        (np.ones((2, 3, 4)), r"its shape is \(2, 3, 4\)"),
        (np.ones((0, 2, 2)), r"its shape is \(0, 2, 2\)"),
        (np.ones((1, 1, 2, 2)), r"its shape is \(1, 1, 2, 2\)"),
        (np.full((2, 2), np.nan), "finite"),
        (np.ones((2, 2), dtype=int), "dtype is int64"),
        (np.array([[None]]), "object array"),
    ],
)
def test_matrices_that_cannot_be(tmp_path, array, match):
    np.save(tmp_path / "w.npy", array, allow_pickle=True)
    refused(tmp_path / "w.npy", match=match, reader=read_matrices)


def test_an_npz_of_several_stacks_is_a_question(tmp_path):
    path = npz(tmp_path / "j.npz", a=np.ones((2, 2, 2)), b=np.ones((2, 2, 2)))
    refused(path, match=r"exactly one array .* 'a' \(2, 2, 2\), 'b'", reader=read_matrices)


def test_npy_headers_are_not_evaluated(tmp_path):
    for header in (
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 9)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f999999', 'fortran_order': False, 'shape': (2, 2)}",
        "__import__('os').system('true')",
        "(" * 3000,
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1" * 3000 + ")}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 1500 + ")}",
    ):
        text = header.encode()
        (tmp_path / "w.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 16)
        refused(tmp_path / "w.npy", match="w.npy", reader=read_matrices)


@pytest.mark.parametrize(
    "header",
    [
        {"weight_hh": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 17]}},
        {"weight_hh": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 1 << 40]}},
        {"weight_hh": {"dtype": "F32", "shape": [1 << 30, 1 << 30], "data_offsets": [0, 16]}},
        {"weight_hh": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}},
        {"weight_hh": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 0]}},
        {"weight_hh": {"dtype": "F32", "shape": [2, 2.0], "data_offsets": [0, 16]}},
        {"weight_hh": {"dtype": "F32", "shape": [True, 4], "data_offsets": [0, 16]}},
        {"weight_hh": {"dtype": ["F32"], "shape": [2, 2], "data_offsets": [0, 16]}},
        {"weight_hh": {"dtype": "F32", "shape": [2, 2]}},
        {"weight_hh": 7},
        {"weight_hh": {"dtype": "F32", "shape": [1] * 50 + [4], "data_offsets": [0, 16]}},
        {
            "weight_hh": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "weight_ih": {"dtype": "F32", "shape": [2, 2], "data_offsets": [8, 24]},
        },
        {
            "weight_hh": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]},
            "weight_ih": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [4, 8]},
        },
        [1, 2],
    ],
)
def test_safetensors_headers(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 32)
    refused(path, match="w.safetensors")


def test_safetensors_header_length_and_nesting(tmp_path):
    path = tmp_path / "w.safetensors"
    for content in (struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 3) + b"{}", b"\x01", struct.pack("<Q", 0)):
        path.write_bytes(content)
        refused(path, match="length of a safetensors header")
    nested = b"[" * 100_000
    path.write_bytes(struct.pack("<Q", len(nested)) + nested)
    refused(path, match="not such a table")


def bomb(path, member, n_bytes):
    """A zip whose one member is zeros, a thousand times smaller packed than unpacked."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as members, members.open(member, "w") as out:
        for _ in range(n_bytes >> 20):
            out.write(b"\0" * (1 << 20))
    return path


@pytest.mark.parametrize(
    ("suffix", "member"), [(".npz", "weight_hh.npy"), (".pt", "archive/data.pkl"), (".keras", "model.weights.h5")]
)
def test_zip_bombs_are_weighed_before_they_are_unpacked(tmp_path, suffix, member):
    path = bomb(tmp_path / f"w{suffix}", member, 65 << 20)
    tracemalloc.start()
    refused(path, match="unpacking its members would take 68157440 bytes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    """The directory says 64 bytes; the stream holds more. Only what was declared is ever taken."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("weight_hh.npy", b"\0" * 100_000)
    content = bytearray(buffer.getvalue())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 64)
    (tmp_path / "w.npz").write_bytes(content)
    refused(tmp_path / "w.npz", match="w.npz")


def test_encrypted_and_odd_members(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr("weight_hh.npy", b"x" * 100)
    content = bytearray(buffer.getvalue())
    for place, value in ((6, 1), (8, 99)):  # the encryption flag; an unknown compression method
        bad = bytearray(content)
        at = bad.rindex(b"PK\x01\x02")
        bad[place] = bad[at + place + 2] = value
        (tmp_path / "w.npz").write_bytes(bad)
        refused(tmp_path / "w.npz", match="cannot be read|by a method that no model")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_truncation_at_any_byte(tmp_path, suffix):
    if suffix == ".npz":
        whole = npz(tmp_path / "good.npz", **GOOD).read_bytes()
    else:
        text = json.dumps(
            {
                "weight_ih": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                "weight_hh": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]},
            }
        ).encode()
        whole = struct.pack("<Q", len(text)) + text + b"\0" * 32
    path = tmp_path / f"w{suffix}"
    for cut in range(1, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:cut])
        refused(path, match=f"w{suffix}")


def test_names_as_long_as_the_file_do_not_stall(tmp_path):
    name = "_" * 60_000 + "weight_h"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as members:
        buffer = io.BytesIO()
        np.save(buffer, np.ones((2, 2)))
        members.writestr(f"{name}.npy", buffer.getvalue())
    refused(tmp_path / "w.npz", match="a member's name of 60012 characters")
    escape = "\x1b[2J\nrnn.weight_hh"
    assert "\x1b" not in refused(npz(tmp_path / "w.npz", **{escape: np.ones((2, 3))}), match="weight_hh")


def test_many_names_for_the_same_bytes_do_not_fill_the_memory(tmp_path):
    """Zip members that overlap: 3000 directory entries, one stored array of 64 kB."""
    buffer = io.BytesIO()
    np.save(buffer, np.ones((128, 64)))
    stored = buffer.getvalue()
    local = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, len(stored), len(stored), 1, 0) + b"x"
    directory = b""
    for index in range(3000):
        name = f"m{index}.weight_hh.npy".encode()
        fields = struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 0, 0, len(stored), len(stored), len(name), 0, 0, 0, 0, 0, 0)
        directory += b"PK\x01\x02" + fields + name
    end = struct.pack("<4H2LH", 0, 0, 3000, 3000, len(directory), len(local) + len(stored), 0)
    (tmp_path / "w.npz").write_bytes(local + stored + directory + b"PK\x05\x06" + end)
    tracemalloc.start()
    refused(tmp_path / "w.npz", match="unpacking its members would take 196992000 bytes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
