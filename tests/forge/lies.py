"""What a forged file says: sizes near every limit, names without end, nests, the same thing many times."""

from __future__ import annotations

import random


class Liar(random.Random):
    """A source of choices that lies at its own rate: a file full of lies is refused at the first one."""

    def __init__(self, seed):
        super().__init__(seed)
        self.rate = self.choice((0.0, 0.02, 0.05, 0.1, 0.3, 0.8))

    def lies(self, often=1.0):
        """Whether to lie here."""
        return self.random() < self.rate * often


COUNTS = [
    0, 1, 2, 3, 4, 31, 33, 64, 255, 256, 1000, 65_535, 65_536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 10**12,
    2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -1, -2, -(2**31), -(2**63),
]  # fmt: skip
NAMES = [
    "", ".", "..", "/", "a/../../b", "/etc/passwd", "C:\\w", "x" * 999, "x" * 1001, "y" * 70_000, "z" * 2_000_000,
    "\x1b[31mred", "a\r\n::error::b", "\u202egnp", "null\0byte", "schön", "𝛿" * 300, "%s%n{0}", "weight_hh_l0",
    "module." * 5000 + "weight_hh", "a.b." * 300, "__class__", "-", "l--5", "weight_hh_l99999",
]  # fmt: skip
WORDS = ["tanh", "relu", "sigmoid", "lstm", "gru", "rnn", "linear", "", "nan", "None", "1e999", "é"]
DTYPES = [
    "<f8", "<f4", ">f8", "<f2", "|b1", "<i8", "<c16", "|O", "<U5", "<U1000000000", "|S9999999999", "|V8", "<M8[ns]",
    "<f16", "<f3", "f8,f8", "", "(2,)f8", "[('a','<f8')]", "<f8" * 1000, "O" * 500, "=f8", "<e", "float64",
]  # fmt: skip
#: Names that a state dict of one honest recurrence has.
HONEST = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}


def count(rng):
    """A number that a file may claim: mostly small."""
    return rng.choice(COUNTS) if rng.random() < 0.5 else rng.randrange(0, 12)


def shape(rng, honest=None):
    """A shape: honest, or of any rank with any extents."""
    if honest is not None and not rng.lies():
        return honest
    rank = rng.choice((0, 1, 2, 2, 2, 3, 3, 4, 31, 32, 33, 64, 3000))
    return tuple(count(rng) if rank < 5 else rng.choice((0, 1, 1, 1, 2)) for _ in range(rank))


def name(rng, honest=None):
    """A name: honest, of another layer, or one that should never be shown as it is."""
    if honest is not None and not rng.lies():
        return honest
    if rng.random() < 0.5:
        kind = rng.choice(("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh", "weight_hh_raw", "bias"))
        prefix, end = rng.choice(("", "rnn.", "a.b.", "x_")), rng.choice(("", "_reverse"))
        return f"{prefix}{kind}_l{rng.choice((0, 0, 1, 2, 77))}{end}"
    return rng.choice(NAMES)


def repeats(rng):
    """How often something stands again: thousands at times."""
    return rng.choice((1, 1, 1, 2, 3, 10, 300, 5000))


def depth(rng):
    """How deep something nests."""
    return rng.choice((1, 2, 5, 20, 100, 400, 3000, 100_000))


def json_value(rng, levels=3):
    """Any JSON value, of any kind, as text."""
    kind = rng.randrange(14)
    if kind < 3:
        return str(count(rng))
    if kind == 3:
        return rng.choice(("1e400", "-1e999", "1e-400", "0.1", "-0", "NaN", "Infinity", "1" * 5000, "1." + "0" * 9000))
    if kind == 4:
        return rng.choice(("null", "true", "false"))
    if kind == 5:
        return quoted(rng.choice(NAMES + WORDS))
    if kind == 6:
        n = depth(rng)
        return "[" * n + "]" * n
    if kind == 7:
        n = depth(rng)
        return '{"a":' * n + "1" + "}" * n
    if kind == 8:
        return "[" + ",".join(["1"] * repeats(rng) * rng.choice((1, 100))) + "]"
    if kind == 9:
        return rng.choice(('"\\ud800"', '"\\u0000"', '"' + "\\n" * 3000 + '"', '"::error::"'))
    if kind == 10:
        return "[" + ",".join(["{}"] * repeats(rng)) + "]"
    if levels and kind < 13:
        return "[" + ",".join(json_value(rng, levels - 1) for _ in range(rng.randrange(4))) + "]"
    items = (f"{quoted(name(rng))}:{json_value(rng, levels - 1) if levels else 1}" for _ in range(rng.randrange(4)))
    return "{" + ",".join(items) + "}"


def quoted(text):
    """A JSON string."""
    import json

    return json.dumps(text)
