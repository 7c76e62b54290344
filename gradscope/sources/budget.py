"""What reading one file may cost: every reader charges here for the bytes it materialises, before it does.

A file says how large its parts are, and a forged one lies: in a size, in a count, or in a product of two that are each
harmless (a name of a megabyte above thousands of tensors). Two accounts bound the sum whatever the parts are:
*values* (numbers: tensors, inflated members, chunks) and *text* (names, JSON, structure), each in proportion to the
file's own length with a floor for small files. Lengths of names and numbers of axes have limits of their own.
"""

from __future__ import annotations

import json
from typing import Any

from gradscope.errors import InputError

#: Trained weights hardly compress; what unpacks to more than this many times the file is a bomb, not a model.
MAX_RATIO = 100
#: Unpacked size that is always allowed, so that a small file of zeros or identities still reads.
FLOOR_BYTES = 64 << 20
#: Names, paths and configurations are a small part of any model.
MAX_TEXT_RATIO = 20
TEXT_FLOOR_BYTES = 1 << 20
#: No model needs more text than this, however large it is (as Python objects, not as characters).
MAX_TEXT_BYTES = 128 << 20
#: Longest name, key or path, in characters; the longest in use are about 200.
MAX_NAME = 1000
#: numpy's own limit before version 2, and PyTorch's.
MAX_AXES = 32
#: A petabyte of float32: beyond any file, and within what numpy's sizes in bytes can count.
MAX_ELEMENTS = 1 << 48


class OverBudgetError(InputError):
    """The whole file is refused, not one module of it (exit 3)."""


class Budget:
    """What may still be materialised while one file is read.

    Parameters
    ----------
    n_bytes : int
        The file's size.
    file : str
        Its name, for messages.

    >>> budget = Budget(1000, file="weights.pt")
    >>> budget.name("encoder.weight_hh_l0")
    'encoder.weight_hh_l0'
    """

    def __init__(self, n_bytes: int, *, file: str) -> None:
        self.n_bytes, self.file = n_bytes, file
        self._values = max(FLOOR_BYTES, MAX_RATIO * n_bytes)
        self._text = min(MAX_TEXT_BYTES, max(TEXT_FLOOR_BYTES, MAX_TEXT_RATIO * n_bytes))

    def values(self, n: int, what: str) -> None:
        """Charge ``n`` bytes of numbers (or of unpacked members) that are about to be materialised as ``what``.

        Raises
        ------
        InputError
            If they come to more than ``max(FLOOR_BYTES, MAX_RATIO · file)`` with all that was charged before.
        """
        if n < 0 or n > self._values:
            raise self._refusal(n, what)
        self._values -= n

    def text(self, n: int, what: str) -> None:
        """Charge ``n`` bytes of names, keys, configurations or structure.

        Raises
        ------
        InputError
            If they come to more than ``max(TEXT_FLOOR_BYTES, MAX_TEXT_RATIO · file)``, or ``MAX_TEXT_BYTES``, in all.
        """
        if n < 0 or n > self._text:
            raise self._refusal(n, what)
        self._text -= n

    def name(self, name: str, what: str = "a name") -> str:
        """Admit a name, key or path where it is read, and charge it.

        Raises
        ------
        InputError
            If it has more than ``MAX_NAME`` characters.
        """
        self.length(len(name), what)
        self.text(len(name), "names")
        return name

    def length(self, n: int, what: str = "a name") -> None:
        """Refuse a name of ``n`` characters or bytes before it is read, if it is too long."""
        if n > MAX_NAME:
            raise InputError(
                f"{self.file}: has {what} of {n} characters, and {MAX_NAME} is the most that is read; "
                "the file is damaged or hostile"
            )

    def axes(self, n: int, what: str) -> None:
        """Refuse a tensor of ``n`` axes before its shape is read, if no array can have as many."""
        if n > MAX_AXES:
            raise InputError(f"{self.file}: {what} has {n} axes, and {MAX_AXES} is the most; the file is damaged")

    def shape(self, shape: tuple[int, ...] | list[int], what: str) -> None:
        """Refuse a shape that no array can have: too many axes, or huge extents beside one that is zero."""
        self.axes(len(shape), what)
        n = 1
        for extent in shape:
            n *= max(1, extent)
            if not 0 <= extent < MAX_ELEMENTS or n >= MAX_ELEMENTS:
                raise InputError(f"{self.file}: {what} has an impossible shape; the file is damaged")

    def count(self, n: int, most: int, what: str) -> None:
        """Refuse more than ``most`` parts of a kind; call it while they are being read, not after."""
        if n > most:
            raise InputError(f"{self.file}: has more than {most} {what}; damaged, hostile, or no model file")

    def json(self, content: bytes | str, what: str) -> Any:
        """Parse JSON, after charging what its containers and items will take as Python objects.

        Raises
        ------
        InputError
            If that is too much, or the content is no JSON.
        """
        self.text(len(content), what)
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        opening, items = raw.count(b"[") + raw.count(b"{"), raw.count(b",") + raw.count(b'"')
        # An empty list takes 56 bytes and the place it stands in 8; a short string 50 (it has two quotation marks).
        # Objects come and go with one parse: they are weighed against what text may take at most, and not kept.
        n_bytes = 64 * opening + 32 * items
        if n_bytes > max(16 << 20, min(MAX_TEXT_BYTES, MAX_TEXT_RATIO * self.n_bytes)):
            raise self._refusal(n_bytes, what)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.file}: {what} is not JSON; the file is damaged or another format") from error

    def _refusal(self, n: int, what: str) -> OverBudgetError:
        return OverBudgetError(
            f"{self.file}: {what} would take {n} bytes, more than a file of {self.n_bytes} bytes can mean; it is "
            "damaged or hostile (save the weights alone, uncompressed, if it is genuine)"
        )
