"""HDF5 files whose sizes, names and types lie; each is refused in a sentence, soon and in little memory."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_weights

h5py = pytest.importorskip("h5py")


def refused(path, match):
    """Refused with one short sentence, in a second and little memory beside what HDF5 itself takes."""
    begin = time.process_time()
    tracemalloc.start()
    with pytest.raises(InputError, match=match) as said:
        read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(said.value)) < 1000
    assert peak < 100 << 20
    assert time.process_time() - begin < 15  # tracing costs several times what reading does


def a_layer(h5, group="rnn", dtype="f4", **options):
    h5.create_dataset(f"{group}/weight_ih_l0", data=np.full((8, 3), 1.5, dtype=dtype), **options)
    h5.create_dataset(f"{group}/weight_hh_l0", data=np.full((8, 2), -0.40625, dtype=dtype), **options)


def test_a_small_dataset_of_huge_chunks_is_refused(tmp_path):
    """The library unpacks whole chunks: 2 GB for sixteen numbers."""
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        h5["rnn/weight_ih_l0"] = np.ones((8, 3))
        h5.create_dataset(
            "rnn/weight_hh_l0", (8, 2), "f4", maxshape=(None, None), chunks=(10_000, 50_000), compression="gzip"
        )
    refused(tmp_path / "m.h5", "chunks of 'rnn/weight_hh_l0' would take")


def test_many_datasets_of_large_chunks_are_refused(tmp_path):
    """Each chunk alone is under the limit; a hundred of them are unpacked one after the other."""
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        for i in range(12):
            a_layer(h5, f"rnn{i}", maxshape=(None, None), chunks=(1000, 1000), compression="gzip")
    refused(tmp_path / "m.h5", "chunks of 'rnn.* would take")


def test_honest_chunks_are_read(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        a_layer(h5, chunks=(5, 2), compression="gzip", shuffle=True)
    assert read_weights(tmp_path / "m.h5").layers[0].weight_hh[0, 0] == -0.40625


@pytest.mark.parametrize("long", ["group", "dataset", "path"])
def test_long_names_are_refused(tmp_path, long):
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        a_layer(h5)
        group = h5.create_group({"group": "g" * 60_000, "path": "/".join(["p" * 200] * 6)}.get(long, "g"))
        for i in range(300):
            group[f"{'d' * 60_000 if long == 'dataset' else 'd'}{i}"] = np.ones(1)
    refused(tmp_path / "m.h5", "HDF5 path of .* characters, and 1000 is the most")


def test_many_objects_are_refused(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w", libver="latest") as h5:
        a_layer(h5)
        for i in range(10_001):
            h5.create_group(f"g{i}")
    refused(tmp_path / "m.h5", "more than 10000 HDF5 objects")


def test_many_pointers_to_one_text_are_refused(tmp_path):
    """An attribute of variable-length texts is a list of pointers; that they differ is nowhere said."""
    text = h5py.string_dtype()
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        group = h5.create_group("lstm")
        group["lstm/kernel:0"] = group["lstm/recurrent_kernel:0"] = np.ones((4, 16))
        h5.attrs["model_config"] = "{" + " " * (1 << 20) + "}"
        group.attrs.create("weight_names", np.array(["a"] * 4000, dtype=object), dtype=text)
    refused(tmp_path / "m.h5", "attribute 'weight_names' would take")


@pytest.mark.parametrize("stored", ["f4", "f8", "bits"])
def test_bfloat16_is_never_made_of_other_bytes(tmp_path, stored):
    """Keras's attribute on float data asks for rounding, as numpy's conversion to bfloat16 rounds; not for a cast."""
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        if stored == "bits":
            h5["rnn/weight_ih_l0"] = np.full((8, 3), 0x3FC0, dtype="u2").view("V2")
            h5["rnn/weight_hh_l0"] = np.full((8, 2), 0xBED0, dtype="u2").view("V2")
        else:
            a_layer(h5, dtype=stored)
            h5["rnn/weight_ih_l0"][0, 0] = 1 + 2**-8 + 2**-20  # above the middle of two bfloat16 numbers
            h5["rnn/weight_ih_l0"][0, 1] = 1 + 2**-8  # the middle itself: to even
        for name in ("weight_ih_l0", "weight_hh_l0"):
            h5[f"rnn/{name}"].attrs["dtype"] = "bfloat16"
    (w,) = read_weights(tmp_path / "m.h5").layers
    assert (w.weight_ih.shape, w.weight_hh.shape, w.dtype) == ((8, 3), (8, 2), "bfloat16")
    assert w.weight_hh[0, 0] == -0.40625
    assert w.weight_ih[0].tolist() == ([1.5] * 3 if stored == "bits" else [1 + 2**-7, 1.0, 1.5])
