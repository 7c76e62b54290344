"""Ready matrices from ``.npy`` and ``.npz``: W_hh alone (n, n), or step Jacobians (K, n, n), first step first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import check_start, opened, plain_messages, sha256_of
from gradscope.sources.file_format import NPY_MAGIC
from gradscope.sources.npy_header import MAX_HEADER, NpyHeader
from gradscope.sources.npz import npz_tensors
from gradscope.sources.stored_tensor import StoredTensor, load_weights, shown
from gradscope.sources.zip_members import ZipMembers

_WANTED = "a square matrix (n, n) for W_hh alone, or step Jacobians (K, n, n)"


@dataclass(frozen=True)
class Matrices:
    """One matrix, or a sequence of step Jacobians.

    Attributes
    ----------
    name : str
        The file's name.
    values : ndarray, shape (n, n) or (K, n, n), float64
    dtype : str
        In the file.
    """

    name: str
    sha256: str
    values: Array
    dtype: str

    @property
    def are_jacobians(self) -> bool:
        """True for (K, n, n)."""
        return self.values.ndim == 3

    @property
    def is_one_array(self) -> bool:
        """True: not weights by name."""
        return True


def read_matrices(path: Path) -> Matrices:
    """Read a ``.npy`` of shape (n, n) or (K, n, n), or a ``.npz`` that holds exactly one (K, n, n) array.

    Raises
    ------
    InputError
        If the file cannot be read, or holds anything else.
    """
    path = Path(path)
    with plain_messages(), opened(path) as (stream, n_bytes):
        digest = sha256_of(stream)
        if check_start(stream, (b"PK", NPY_MAGIC), f"{_WANTED}, in a .npy or .npz", file=path.name).startswith(b"PK"):
            with ZipMembers(stream, Budget(n_bytes, file=path.name)) as members:
                tensor = _only_jacobians(npz_tensors(members), file=path.name)
                values = load_weights(tensor, file=path.name)
        else:
            header = NpyHeader(stream.read(MAX_HEADER + 12), n_bytes, name="", budget=Budget(n_bytes, file=path.name))
            stream.seek(0)
            tensor = StoredTensor(path.name, header.shape, header.dtype, lambda: header.values(stream.read()))
            check_shape(tensor.shape, file=path.name)
            values = load_weights(tensor, file=path.name)
    return Matrices(path.name, digest, values, tensor.dtype)


def _only_jacobians(tensors: dict[str, StoredTensor], *, file: str) -> StoredTensor:
    found = [t for t in tensors.values() if len(t.shape) == 3 and t.shape[1] == t.shape[2] and 0 not in t.shape]
    if len(found) == 1:
        return found[0]
    came = ", ".join(f"'{t.name}' {shown(t.shape)}" for t in list(tensors.values())[:6]) or "no arrays"
    raise InputError(
        f"{file}: should hold exactly one array of step Jacobians (K, n, n), but it has {came}; save that one as .npy"
    )


def check_shape(shape: tuple[int, ...], *, file: str) -> None:
    """Refuse what is neither (n, n) nor (K, n, n).

    Raises
    ------
    InputError
    """
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or 0 in shape:
        hint = "; name weights as in PyTorch and save them with numpy.savez" if len(shape) == 2 else ""
        raise InputError(f"{file}: should be {_WANTED}, but its shape is {shown(shape)}{hint or '; reshape it'}")
