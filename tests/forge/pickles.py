"""PyTorch checkpoints: pickle programs from a grammar, tensors whose sizes, strides, offsets and keys are claimed."""

from __future__ import annotations

import struct

import numpy as np

from tests.forge import lies
from tests.forge.arrays import NUMBERS, zip_bytes

GLOBALS = [
    "torch Size", "torch.storage UntypedStorage", "torch FloatStorage", "collections OrderedDict", "builtins list",
    "builtins set", "builtins bytearray", "_codecs encode", "numpy ndarray", "numpy.core.multiarray scalar",
    "numpy dtype", "torch device", "torch float32", "argparse Namespace", "os system", "builtins eval",
    "a" * 5000 + " b",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch.nn.modules.rnn LSTM",
    "__torch__.m Net", "builtins complex", "datetime timedelta", "pathlib PosixPath", "torch._C ScriptModule",
]  # fmt: skip


def text(value):
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([min(len(raw), 255)]) + raw[:255]


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module_and_name):
    module, _, attribute = module_and_name.rpartition(" ")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


class Program:
    """Opcodes of one pickle, with a memo and storages."""

    def __init__(self, rng, legacy):
        self.rng, self.legacy, self.storages, self.memo = rng, legacy, {}, 0

    def kept(self, program):
        """The same, remembered; and what fetches it again."""
        index, self.memo = self.memo, self.memo + 1
        return program + b"r" + struct.pack("<I", index), b"j" + struct.pack("<I", index)

    def any(self, levels=3):
        """Any object: nests, shared parts, long things, names that must not be called."""
        rng, kind = self.rng, self.rng.randrange(16)
        if kind < 3:
            return number(lies.count(rng))
        if kind == 3:
            return text(lies.name(rng))
        if kind == 4:
            return rng.choice(
                (b"N", b"\x88", b"\x89", b"G" + struct.pack(">d", float("nan")), b"I1\n", b"L5L\n", b"L--5\n")
            )
        if kind == 5:
            n = min(lies.depth(rng), 100_000)
            return b"N" + b"\x85" * n
        if kind == 6:
            out, times = b"K\x01", rng.choice((3, 20, 40, 60))
            for _ in range(times):
                once, again = self.kept(out)
                out = once + again + b"\x86"
            return out
        if kind == 7:
            once, again = self.kept(b"](" + b"K\x01" * rng.choice((3, 300, 30_000)) + b"e")
            call = name(rng.choice(("torch Size", "builtins list", "builtins set", "collections OrderedDict")))
            return once + b"0(" + (call + again + b"\x85R") * rng.choice((1, 30, 3000)) + b"t"
        if kind == 8:
            return name(rng.choice(GLOBALS)) + (self.any(levels - 1) if levels else b"N") + b"\x85R"
        if kind == 9:
            once, again = self.kept(b"]")
            return once + again + b"a"  # a list in itself
        if kind == 10:
            return name(rng.choice(GLOBALS))
        if kind == 11:
            return rng.choice((b"j", b"h", b"r", b"\x95")) + bytes(rng.randrange(256) for _ in range(8))
        if kind == 12:
            return b"B" + struct.pack("<I", lies.count(rng) % 2**32) + b"abc"
        if kind == 13:
            return self.tensor((2, 2))
        if levels:
            items = b"".join(self.key() + self.any(levels - 1) for _ in range(rng.randrange(4)))
            return b"}(" + items * min(lies.repeats(rng), 1 + 100_000 // (1 + len(items))) + b"u"
        return b"N"

    def key(self, honest=None):
        if not self.rng.lies(0.3):
            return text(lies.name(self.rng, honest))
        return self.any(1)

    def tensor(self, honest):
        rng = self.rng
        shape = tuple(lies.shape(rng, honest))[:3000]
        strides = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = min(strides[axis + 1] * max(shape[axis + 1], 1), 2**64)
        if rng.lies():
            strides = [lies.count(rng) for _ in range(rng.choice((len(shape), 1, 0)))]
        offset = 0 if not rng.lies(0.5) else lies.count(rng)
        size = int(np.prod(honest))
        key = str(len(self.storages)) if not rng.lies() or not self.storages else rng.choice(list(self.storages))
        self.storages.setdefault(key, size if not rng.lies(0.5) else rng.choice((0, 1, 1 << 20)))
        said = self.storages[key] if not rng.lies(0.5) else lies.count(rng)
        kind = (
            "FloatStorage"
            if not rng.lies(0.5)
            else rng.choice(("DoubleStorage", "ComplexFloatStorage", "QInt8Storage"))
        )
        place = text("storage") + name(f"torch {kind}") + (text(key) if not rng.lies(0.5) else self.any(1))
        place = b"(" + place + text("cpu") + number(said) + (b"N" if self.legacy else b"") + b"tQ"
        rest = b"\x89" + name("collections OrderedDict") + b")R"
        rebuild = "_rebuild_tensor_v2" if not rng.lies(0.5) else rng.choice(("_rebuild_tensor", "_rebuild_qtensor"))
        built = (
            name(f"torch._utils {rebuild}") + b"(" + place + number(offset) + numbers(shape) + numbers(strides) + rest
        )
        built += b"tR"
        if rng.random() < 0.1:
            built = (
                name("torch._utils _rebuild_parameter")
                + b"("
                + built
                + b"\x88"
                + name("collections OrderedDict")
                + b")RtR"
            )
        return built

    def state_dict(self):
        rng, items = self.rng, b""
        for honest, shape in lies.HONEST.items():
            value, again = self.kept(self.tensor(shape))
            items += self.key(honest) + (value if not rng.lies(0.5) else self.any())
            if rng.lies(0.5):
                items += b"".join(text(f"m{i}.{honest}") + again for i in range(lies.repeats(rng)))
        return name("collections OrderedDict") + b")R(" + items + b"u"

    def whole(self):
        rng, inner = self.rng, self.state_dict()
        for _ in range(rng.choice((0, 1, 3, 200)) if rng.lies() else 1):
            more = self.key() + self.any() if rng.lies() else b""
            inner = b"}(" + self.key("state_dict") + inner + more + b"u"
        return inner


def _storage(numbers_held):
    return np.resize(NUMBERS, numbers_held).astype("<f4").tobytes()


def zipped(rng, folder):
    program = Program(rng, legacy=False)
    body = b"\x80\x02" + program.whole() + b"."
    members = [("archive/data.pkl", body)]
    members += [(f"archive/data/{key}", _storage(size)) for key, size in program.storages.items()]
    if rng.random() < 0.1:
        members += [
            ("archive/code/__torch__.py", b"import os"),
            ("archive/constants.pkl", b"\x80\x02)."),
            ("archive/version", b"3"),
        ]
    path = folder / "w.pt"
    path.write_bytes(zip_bytes(rng, members))
    return path


def legacy(rng, folder):
    program = Program(rng, legacy=True)
    body = program.whole()
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."
    keys = (
        b"\x80\x02]("
        + b"".join(text(key) for key in program.storages) * (lies.repeats(rng) if rng.lies(0.3) else 1)
        + b"e."
    )
    if rng.random() < 0.1:
        keys = b"\x80\x02" + program.any() + b"."
    data = b""
    for size in program.storages.values():
        said = size if not rng.lies(0.5) else lies.count(rng) % 2**64
        data += struct.pack("<Q", said) + _storage(size)
    path = folder / "w.bin"
    path.write_bytes(head + b"\x80\x02" + body + b"." + keys + data)
    return path


KINDS = {"torch zip": (zipped, ("weights",)), "torch old": (legacy, ("weights",))}
