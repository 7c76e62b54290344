"""Plain arrays and lists of named arrays: .npy, .npz with a zip directory of our own making, safetensors, csv."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np

from tests.forge import lies

MEMBER = struct.Struct("<4s5H3L2H")
ENTRY = struct.Struct("<4s6H3L5H2L")
NUMBERS = np.random.default_rng(0).normal(size=4096)
END = struct.Struct("<4s4H2LH")


def npy_bytes(rng, honest=(8, 2)):
    """A .npy whose header and data may disagree."""
    shape = lies.shape(rng, honest)
    said = str(shape)
    if rng.lies(0.5):
        said = rng.choice(("(" * 2000, "(1, " * 300 + ")", "(" + "9" * 5000 + ",)", "[8, 2]", "(8 2)", "-1"))
    descr = rng.choice(lies.DTYPES) if rng.lies() else "<f8"
    order = rng.choice(("True", "0", "None", "lambda: 0")) if rng.lies() else "False"
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {said}, }}"
    if rng.lies(0.5):
        head = rng.choice((head + head, head.replace("'shape'", "'descr'"), head[:-3], head + " " * 70_000, "{" * 9000))
    head = head.encode("latin-1", "replace") + b"\n"
    version = rng.choice((2, 3, 0, 9)) if rng.lies() else 1
    length = len(head) if not rng.lies(0.5) else rng.choice((0, 1, 65_535, 2**32 - 1))
    size = struct.pack("<H", min(length, 65_535)) if version == 1 else struct.pack("<L", min(length, 2**32 - 1))
    numbers = _numbers(shape, rng)
    data = NUMBERS[:numbers].tobytes()
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + data


def _numbers(shape, rng):
    total = 1
    for extent in shape:
        total *= extent
    return total if 0 <= total <= 4096 and not rng.lies(0.5) else rng.choice((0, 1, 16, 100))


def npy(rng, folder):
    path = folder / "w.npy"
    path.write_bytes(npy_bytes(rng, rng.choice(((8, 2), (4, 2, 2), (5, 2), (3, 5, 2), (2,)))))
    return path


def inputs_npy(rng, folder):
    path = folder / "x.npy"
    path.write_bytes(npy_bytes(rng, rng.choice(((6, 2), (3, 6, 2), (6, 3, 2), (2,), (6,), (4, 3)))))
    return path


def zip_bytes(rng, members):
    """A zip of (name, data): names and bytes shared, sizes and counts as claimed, members that unpack without end."""
    out, entries, flooded = io.BytesIO(), [], False
    for name, data in members:
        method = rng.choice((0, 8, 8))
        if not flooded and rng.lies(0.3):
            flooded = True
            data = data + b"\0" * rng.choice((1 << 20, 12 << 20))
            method = 8
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = data if method == 0 else packer.compress(data) + packer.flush()
        size, packed_size = len(data), len(packed)
        if rng.lies(0.3):
            size = lies.count(rng) % 2**32
        if rng.lies(0.3):
            packed_size = lies.count(rng) % 2**32
        method = method if not rng.lies(0.2) else rng.choice((0, 8, 12, 14, 93, 99))
        flags = 0 if not rng.lies(0.2) else rng.choice((1, 8, 0x40, 0x800, 0xFFFF))
        written = name.encode("utf-8", "surrogatepass")[:65_535]
        crc, at = zlib.crc32(data), out.tell()
        out.write(MEMBER.pack(b"PK\x03\x04", 20, flags, method, 0, 0, crc, packed_size, size, len(written), 0))
        out.write(written + packed)
        again = lies.repeats(rng) if rng.lies(0.3) else 1
        for index in range(again):
            other = written if index == 0 or rng.random() < 0.5 else f"{index}.npy".encode()
            place = at if not rng.lies(0.2) else lies.count(rng) % 2**32
            entries.append((flags, method, crc, packed_size, size, other, place))
    start = out.tell()
    for flags, method, crc, packed_size, size, written, place in entries:
        extra = b"" if not rng.lies(0.2) else struct.pack("<HH3Q", 1, 24, *(lies.count(rng) % 2**64 for _ in range(3)))
        fields = (20, 20, flags, method, 0, 0, crc, packed_size, size, len(written), len(extra), 0, 0, 0, 0, place)
        out.write(ENTRY.pack(b"PK\x01\x02", *fields) + written + extra)
    length = out.tell() - start
    said = len(entries) if not rng.lies(0.2) else lies.count(rng)
    start = start if not rng.lies(0.2) else lies.count(rng)
    comment = b"" if not rng.lies(0.2) else b"c" * rng.choice((10, 65_535))
    out.write(END.pack(b"PK\x05\x06", 0, 0, said % 65_536, said % 65_536, length % 2**32, start % 2**32, len(comment)))
    out.write(comment)
    return out.getvalue()


def _named(rng, honest):
    for name, shape in honest.items():
        for index in range(lies.repeats(rng) if rng.lies(0.3) else 1):
            end = "" if rng.lies(0.2) else ".npy"
            yield (f"m{index}.{name}" if index else lies.name(rng, name)) + end, npy_bytes(rng, shape)


def npz(rng, folder, honest=lies.HONEST):
    path = folder / "w.npz"
    path.write_bytes(zip_bytes(rng, list(_named(rng, honest))))
    return path


def readout_npz(rng, folder):
    return npz(rng, folder, {"weight": (3, 2), "bias": (3,)})


def safetensors(rng, folder, honest=lies.HONEST):
    """A header of entries by hand; offsets that overlap, leave holes, or point anywhere."""
    entries, at = [], 0
    for name, shape in honest.items():
        for index in range(lies.repeats(rng) if rng.lies(0.3) else 1):
            said, size = lies.shape(rng, shape), 4 * int(np.prod(shape))
            offsets = [at, at + size] if not rng.lies() else [lies.count(rng), lies.count(rng)]
            dtype = "F32" if not rng.lies() else rng.choice(("F64", "F16", "BF16", "F8_E4M3", "I64", "X", ""))
            value = f'{{"dtype":"{dtype}","shape":{list(said)},"data_offsets":{offsets}}}'
            if rng.lies(0.2):
                value = lies.json_value(rng)
            entries.append(f"{lies.quoted(f'm{index}.{name}' if index else lies.name(rng, name))}:{value}")
            at += size
    if rng.random() < 0.3:
        entries.insert(rng.randrange(len(entries) + 1), f'"__metadata__":{lies.json_value(rng)}')
    head = ("{" + ",".join(entries) + "}" + " " * (rng.choice((3, 1000, 3_000_000)) if rng.lies(0.3) else 0)).encode(
        "utf-8", "replace"
    )
    length = len(head) if not rng.lies(0.2) else lies.count(rng) % 2**64
    data = np.random.default_rng(3).normal(size=min(at, 40_000) // 4).astype("<f4").tobytes()
    path = folder / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + head + data + b"x" * (7 if rng.lies(0.2) else 0))
    return path


def inputs_npz(rng, folder):
    return npz(rng, folder, {"x": (6, 2)})


def inputs_safetensors(rng, folder):
    return safetensors(rng, folder, {"x": (6, 2)})


def readout_safetensors(rng, folder):
    return safetensors(rng, folder, {"weight": (3, 2), "bias": (3,)})


def sharded(rng, folder):
    """An index whose shards lie elsewhere, are one another, or are not."""
    part = safetensors(rng, folder)
    shards = [part.name, part.name, "../w", "/etc/hostname", "w.safetensors.index.json", ".", "", "x" * 5000, "nowhere"]
    items = []
    for name in lies.HONEST:
        for index in range(lies.repeats(rng) if rng.lies() else 1):
            key = f"m{index}.{name}" if index else lies.name(rng, name)
            items.append(f"{lies.quoted(key)}:{lies.quoted(rng.choice(shards) if rng.lies() else part.name)}")
    value = "{" + ",".join(items) + "}" if not rng.lies() else lies.json_value(rng)
    path = folder / "model.safetensors.index.json"
    path.write_text(
        f'{{"metadata":{lies.json_value(rng) if rng.lies() else "{}"},"weight_map":{value}}}',
        encoding="utf-8",
        errors="replace",
    )
    return path


def csv(rng, folder):
    """Numbers in columns, and what people and attackers write between them."""
    cells = [
        "0.5",
        "-1",
        "1e3",
        "nan",
        "inf",
        "1e999",
        "",
        '"',
        "a,b",
        "١",
        "0x10",
        "1_0",
        "=cmd()",
        "9" * 6000,
        " ",
        "\0",
    ]
    rows = []
    width = rng.choice((1, 3, 1000, 100_000)) if rng.lies() else 2
    for _ in range((rng.choice((0, 1, 3, 2000)) if rng.lies() else 5) if width < 1000 else 2):
        row = [(rng.choice(cells) if rng.lies(0.3) else "0.25") for _ in range(width)]
        rows.append((rng.choice((";", "\t", " ", "")) if rng.lies() else ",").join(row))
    text = (rng.choice(("\r\n", "\r", "\n\n")) if rng.lies() else "\n").join(rows)
    if rng.lies():
        text = rng.choice(("\ufeff", "a,b\n", "#c\n", '"' * 70_000, "\n" * 70_000)) + text
    path = folder / "x.csv"
    path.write_bytes(text.encode("utf-16" if rng.lies(0.5) else "utf-8", "surrogatepass"))
    return path


KINDS = {
    "npy": (npy, ("weights",)),
    "npz": (npz, ("weights",)),
    "safetensors": (safetensors, ("weights",)),
    "sharded index": (sharded, ("weights",)),
    "inputs npy": (inputs_npy, ("inputs", "state", "target", "tokens", "inspect")),
    "inputs csv": (csv, ("inputs", "state", "target", "tokens")),
    "inputs npz": (inputs_npz, ("inputs", "state", "target")),
    "inputs safetensors": (inputs_safetensors, ("inputs",)),
    "readout npz": (readout_npz, ("readout",)),
    "readout safetensors": (readout_safetensors, ("readout",)),
    "readout npy": (inputs_npy, ("readout", "linear")),
}
