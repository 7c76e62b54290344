"""HDF5 and Keras: groups in themselves, datasets of claimed sizes, links, configurations that nest and repeat."""

from __future__ import annotations

import contextlib
import io
import json

import h5py
import numpy as np

from tests.forge import lies
from tests.forge.arrays import NUMBERS, zip_bytes
from tests.forge.stored import changed

#: Bytes after which nothing is put into a file: a large file is allowed much, and takes long to forge.
LARGE = 8_000_000


def _values(shape):
    return np.resize(NUMBERS, shape)


def _huge(rng, group, name):
    """A dataset whose shape, chunks or fill value say more than is there."""
    kind = rng.randrange(7)
    if kind == 0:
        group.create_dataset(name, shape=(10**6, 10**6), chunks=(1000, 1000), dtype="f4")
    elif kind == 1:
        if rng.random() < 0.3:  # nothing written into it: the chunk is 4 GB on paper alone
            group.create_dataset(name, shape=(8, 2), maxshape=(None, None), chunks=(10_000, 50_000), dtype="f8")
        else:
            chunks = rng.choice(((1, 1), (8, 2), (300, 400)))
            group.create_dataset(name, data=_values((8, 2)), maxshape=(None, None), chunks=chunks)
    elif kind == 2:
        group.create_dataset(name, data=np.zeros(3_000_000), compression="gzip")
    elif kind == 3:
        group.create_dataset(name, data=["s" * 300_000] * 20, dtype=h5py.string_dtype())
    elif kind == 4:
        dtype = np.dtype([(f"f{i}", "f8") for i in range(rng.choice((1, 3000)))])
        group.create_dataset(name, shape=(4,), dtype=dtype)
    elif kind == 5:
        group.create_dataset(name, data=h5py.Empty("f8"))
    else:
        group.create_dataset(name, shape=(2**40,), chunks=(2**20,), fillvalue=1.5, compression="gzip", dtype="f8")


def _odd(rng, group, name):
    """Something else under the name of an array."""
    kind = rng.randrange(8)
    if kind == 0:
        group[name] = group  # a group in itself
    elif kind == 1:
        group[name] = h5py.SoftLink(rng.choice(("/", "/nowhere", f"{group.name}/{name}", "/" + "a/" * 5000)))
    elif kind == 2:
        group[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "../x.h5", "")), "/x")
    elif kind == 3:
        below = group.create_group(name)
        for _ in range(min(lies.depth(rng), 400)):
            below = below.create_group(rng.choice(("a", "cell", "b" * 200)))
    elif kind == 4:
        below = group.create_group(name)
        for index in range(min(lies.repeats(rng), 3000)):
            below.create_dataset(f"{'n' * rng.choice((1, 300))}{index}", data=1.0)
    elif kind == 5:
        group[name] = np.dtype("f8")
    elif kind == 6:
        item = group.create_dataset(name, data=_values((8, 2)))
        for index in range(min(lies.repeats(rng), 1000)):
            item.attrs[f"a{index}"] = "v" * rng.choice((1, 60_000 // (index + 1)))
    else:
        ref = group.create_dataset(name, (3,), dtype=h5py.ref_dtype)
        ref[0] = group.ref


def put(rng, group, name, shape):
    """One array, or a lie; a file that is large already gets no more."""
    if group.file.id.get_filesize() > LARGE:
        return None
    with contextlib.suppress(ValueError, TypeError, OSError, RuntimeError, KeyError, OverflowError, UnicodeError):
        if rng.lies():
            name = lies.name(rng)[:70_000]
        if rng.lies(0.5):
            return _huge(rng, group, name)
        if rng.lies(0.5):
            return _odd(rng, group, name)
        if rng.lies(0.5):
            shape = tuple(extent % 50 for extent in lies.shape(rng))[:32]
        dtype = rng.choice(("f2", ">f8", "i4", "?", "c16", "S5")) if rng.lies(0.5) else "f4"
        group.create_dataset(name, data=_values(shape).astype(dtype))
    return None


def hdf5(rng, folder):
    """PyTorch's names in groups."""
    path = folder / "w.h5"
    with h5py.File(path, "w", libver=rng.choice(("earliest", "latest"))) as file:
        group = file.require_group(rng.choice(("rnn", "a/b/c"))) if rng.lies(2) else file
        for name, shape in lies.HONEST.items():
            for index in range(min(lies.repeats(rng), 500) if rng.lies(0.3) else 1):
                put(rng, group if index == 0 else group.require_group(f"m{index}"), name, shape)
        if rng.lies(0.3):
            for index in range(min(lies.repeats(rng), 300)):
                file[f"again{index}"] = group
    return path


ROLES = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}


def layer(name="l"):
    config = {"name": name, "units": 2, "activation": "tanh", "recurrent_activation": "sigmoid"}
    return {"class_name": "LSTM", "config": {**config, "return_sequences": True}}


def configuration(rng):
    """A model's JSON, honest or not."""
    layers = [layer("l" if index == 0 else f"l{index}") for index in range(lies.repeats(rng) if rng.lies(0.5) else 1)]
    if rng.lies():
        held = layers[0]
        for _ in range(min(lies.depth(rng), 150)):
            kind = rng.choice(("Bidirectional", "RNN", "Sequential", "TimeDistributed"))
            inner = {"name": lies.name(rng)[:3000], "layer": held, "cell": held, "layers": [held]}
            held = {"class_name": kind, "config": inner}
            if len(json.dumps(held)) > 200_000:
                break
        layers[0] = held
    text = json.dumps({"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}})
    return changed(rng, text) if rng.lies() and len(text) < 100_000 else text


def keras2(rng, folder):
    path = folder / "k.h5"
    with h5py.File(path, "w") as file:
        root = file if rng.lies() else file.create_group("model_weights")
        names = [lies.name(rng, "l")[:60_000] for _ in range(lies.repeats(rng) if rng.lies(0.5) else 1)]
        with contextlib.suppress(ValueError, OSError, RuntimeError):
            root.attrs["layer_names"] = [name.encode("utf-8", "replace") for name in names]
        root.attrs["keras_version"] = lies.name(rng, "2.4.3")[:9000].replace("\0", "")
        with contextlib.suppress(ValueError, OSError, RuntimeError):
            file.attrs["model_config"] = configuration(rng).replace("\0", "").encode("utf-8", "replace")
        group = root.create_group("l")
        with contextlib.suppress(ValueError, OSError, RuntimeError):
            names = [lies.name(rng, f"l/lstm_cell/{role}:0")[:20_000] for role in ROLES]
            group.attrs["weight_names"] = [name.encode("utf-8", "replace") for name in names]
        for role, shape in ROLES.items():
            put(rng, group, f"l/lstm_cell/{role}:0", shape)
    return path


def keras3(rng, folder):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for index, shape in enumerate(ROLES.values()):
            put(rng, file, f"layers/lstm/cell/vars/{index}", shape)
    metadata = '{"keras_version":"3.3.3"}'
    members = [
        ("metadata.json", (lies.json_value(rng) if rng.lies() else metadata).encode("utf-8", "replace")),
        ("config.json", configuration(rng).encode("utf-8", "replace")),
        ("model.weights.h5", buffer.getvalue()),
    ]
    path = folder / "k.keras"
    path.write_bytes(zip_bytes(rng, members))
    return path


KINDS = {"hdf5": (hdf5, ("weights",)), "keras 2": (keras2, ("weights",)), "keras 3": (keras3, ("weights",))}
