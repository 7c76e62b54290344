"""Tensors of a ``.npz`` file: a zip of ``.npy`` arrays, read without pickle and without trusting a size."""

from __future__ import annotations

from functools import partial

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.npy_header import MAX_HEADER, NoNumbersError, NpyHeader
from gradscope.sources.stored_tensor import StoredTensor, check_total
from gradscope.sources.zip_members import ZipMembers

#: The head of each is unpacked to list them.
MAX_ARRAYS = 10_000


def npz_tensors(members: ZipMembers) -> dict[str, StoredTensor]:
    """List the arrays of an open ``.npz`` by name, in the file's order; values are read when they are asked for.

    Raises
    ------
    InputError
        If a member is damaged, an object array, or declares another size than it has.
    """
    tensors: dict[str, StoredTensor] = {}
    members.budget.count(len(members.names), MAX_ARRAYS, "arrays")
    for member in members.names:
        name = member.removesuffix(".npy")
        start = members.read(member, first=MAX_HEADER + 12)
        try:
            header = NpyHeader(start, members.size(member), name=name, budget=members.budget)
        except NoNumbersError as problem:
            tensors[name] = StoredTensor(name, (), "object", partial(_refuse, problem))
            continue

        def load(header: NpyHeader = header, member: str = member) -> Array:
            return header.values(members.read(member))

        tensors[name] = StoredTensor(name, header.shape, header.dtype, load)
    check_total(tensors.values(), members.budget)
    return tensors


def _refuse(problem: InputError) -> Array:
    raise problem
