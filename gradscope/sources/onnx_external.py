"""Values that an ONNX model keeps in a second file, as today's exporters write ``model.onnx`` and ``model.onnx.data``.

Only a regular file of the model's own folder is read, by a name without path parts and without following links, and
never more of it than the tensors declare or it holds.
"""

from __future__ import annotations

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from gradscope.errors import InputError
from gradscope.sources.budget import FLOOR_BYTES

#: Several tensors may share bytes (tied weights); many times over is an attack on memory.
_MAX_SHARED = 8
_MEND = "export it again in one file: torch.onnx.export(..., external_data=False)"


class ExternalData:
    """The files beside a model, opened when a tensor asks for one.

    Parameters
    ----------
    folder : Path or None
        The model's own; None if it has none, and then no other file is read.
    file : str
        The model's name, for messages.
    """

    def __init__(self, folder: Path | None, *, file: str) -> None:
        self._folder, self._file = folder, file
        self._open: dict[str, tuple[BufferedReader, int]] = {}
        self._left: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes of the files opened so far."""
        return sum(size for _, size in self._open.values())

    def read(self, tensor: Any, n_bytes: int) -> bytes:
        """The bytes of a tensor that are kept outside.

        Raises
        ------
        InputError
            If its location is no plain file beside the model, or does not hold ``n_bytes`` there.
        """
        said = _said(tensor)
        name = said.get("location", "")
        stream, size = self._opened(name, tensor.name)
        try:
            offset, length = int(said.get("offset", "0")), int(said.get("length", n_bytes))
        except ValueError as error:
            raise self._damaged(tensor.name, name) from error
        if offset < 0 or length != n_bytes or offset + length > size:
            raise self._damaged(tensor.name, name)
        self._left[name] -= length
        if self._left[name] < 0:
            raise InputError(f"{self._file}: its tensors read '{name[:80]}' over and over; refused as hostile")
        stream.seek(offset)
        content = stream.read(length)
        if len(content) != length:
            raise self._damaged(tensor.name, name)
        return content

    def has(self, tensor: Any) -> bool:
        """Whether a tensor's values can be read."""
        try:
            self._opened(_said(tensor).get("location", ""), tensor.name)
        except InputError:
            return False
        return True

    def _opened(self, name: str, tensor: str) -> tuple[BufferedReader, int]:
        if name in self._open:
            return self._open[name]
        what = f"{self._file}: '{tensor[:80]}' keeps its values in '{name[:80]}'"
        plain = name not in ("", ".", "..") and len(name) <= 255 and not set(name) & set("/\\:\0")
        if not plain or self._folder is None:
            raise InputError(f"{what}, and only a file in the model's own folder is opened; {_MEND}")
        path = self._folder / name
        try:
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"{what}, which is a link or no regular file; copy the file itself there, or {_MEND}")
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError as error:
            raise InputError(f"{what}, which is not beside it; put that file in the same folder, or {_MEND}") from error
        except OSError as error:
            raise InputError(f"{what}, which cannot be opened ({error.strerror or error}); {_MEND}") from error
        stream = os.fdopen(descriptor, "rb")
        size = os.fstat(descriptor).st_size
        self._open[name] = (stream, size)
        self._left[name] = max(FLOOR_BYTES, _MAX_SHARED * size)
        return self._open[name]

    def _damaged(self, tensor: str, name: str) -> InputError:
        return InputError(
            f"{self._file}: '{tensor[:80]}' and '{name[:80]}' do not fit (offset, length); one of them is of another "
            "export or damaged: copy both files again"
        )

    def sha256(self, of_model: str) -> str | None:
        """Hash of the model's hash and its data files', in the order of their names; None if none was opened."""
        if not self._open:
            return None
        digest = hashlib.sha256(of_model.encode())
        for name in sorted(self._open):
            stream = self._open[name][0]
            stream.seek(0)
            digest.update(hashlib.file_digest(stream, "sha256").hexdigest().encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Close every file."""
        for stream, _ in self._open.values():
            stream.close()


def _said(tensor: Any) -> dict[str, str]:
    """What a tensor says of where its values are."""
    return {str(entry.key): str(entry.value) for entry in list(tensor.external_data)[:16]}
