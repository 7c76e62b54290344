"""What a file is, as its first bytes say: a suffix is a name that somebody gave it. The one list of formats.

Nothing heavy is imported here: the grammar of sources asks, too.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
NPY_MAGIC = b"\x93NUMPY"
#: What is read, by content, under any suffix and none.
FORMATS = {
    "npy": ".npy",
    "npz": ".npz",
    "safetensors": ".safetensors (also sharded, by its .index.json)",
    "torch": "PyTorch (.pt, .pth, .ckpt, .bin, TorchScript)",
    "hdf5": "HDF5 and Keras (.h5, .keras)",
    "onnx": ".onnx",
}
FORMATS_SENTENCE = "formats, told by content: " + ", ".join(FORMATS.values())

#: First bytes of what is not read, and what to do about it.
_FOREIGN = (
    (b"version https://git-lfs", "a git-lfs pointer; fetch the file itself with 'git lfs pull'"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ\0", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
    (b"GGUF", "a GGUF file; no recurrent network is stored in that format"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file; save its arrays with numpy.savez under PyTorch's names"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page or XML; the download went wrong"),
    (b"\x7fELF", "a program"),
)
_TAR_AT, _TAR_MAGIC = 257, b"ustar"
START_BYTES = 512


def sniff(start: bytes, n_bytes: int) -> str:
    """Name the format that ``start`` (the first ``START_BYTES`` of ``n_bytes``) shows.

    Returns
    -------
    str
        ``npy``, ``zip``, ``hdf5``, ``pickle``, ``safetensors``, ``index`` (JSON), ``onnx``, or empty for none of them.

    >>> sniff(b"PK" + bytes([3, 4]), 100), sniff(b"some text", 9)
    ('zip', '')
    """
    if start.startswith(NPY_MAGIC):
        return "npy"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start.startswith(HDF5_MAGIC):
        return "hdf5"
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return "pickle"
    if start[8:9] == b"{" and start[4:8] == b"\0\0\0\0":  # a header of less than 4 GB, truncated or not
        return "safetensors"
    if start.lstrip(b" \t\r\n").startswith(b"{"):
        return "index"
    # A protobuf has no magic: a model begins with its field 1, the version of the format, a small number.
    if start[:1] == b"\x08" and start[1:2] <= b"\x40" and start[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x3a"):
        return "onnx"
    return ""


def described(start: bytes, n_bytes: int) -> str:
    """Say in a few words what a file looks like, from its first bytes.

    >>> described(bytes([31, 139, 8]), 3)
    'a gzip file; unpack it first'
    """
    known = {
        "npy": "one numpy array (.npy)",
        "zip": "a zip container (.npz, .pt or .keras)",
        "hdf5": "an HDF5 file (.h5)",
        "pickle": "a pickle",
        "safetensors": "a safetensors file",
        "index": "JSON text",
        "onnx": "an ONNX model",
    }
    kind = sniff(start, n_bytes)
    if kind:
        return known[kind]
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            return what
    if start[_TAR_AT:].startswith(_TAR_MAGIC):
        return "a tar archive; unpack it first, and name the weights file inside it"
    if not start.strip(b"\0"):
        return "zero bytes only; copy or download it again"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start):
        return "text"
    return "binary data of no format known here"


def read_start(stream: IO[bytes]) -> bytes:
    """The first bytes of a seekable stream, which is rewound."""
    stream.seek(0)
    start = stream.read(START_BYTES)
    stream.seek(0)
    return start


def is_one_array(path: Path | str) -> bool:
    """Tell whether a path holds a ``.npy``: by its content, or by its suffix while it cannot be opened."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as stream:
                return stream.read(len(NPY_MAGIC)) == NPY_MAGIC
    except (OSError, ValueError):
        pass
    return Path(path).suffix.lower() == ".npy"
