"""Which readout a loss reads through: the file's own head, the user's file, or the seeded one of built networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.request import GradientsRequest
from gradscope.errors import InputError, ShapeError
from gradscope.jacobians.step_jacobian import Array
from gradscope.remarks import NO_LOSS
from gradscope.sources.given_arrays import GivenArray, GivenReadout, title_of
from gradscope.sources.heads import Table
from gradscope.sources.seeding import generator


@dataclass(frozen=True)
class Readout:
    """y = W_hy h + b_hy.

    Attributes
    ----------
    name : str
        What ``settings.readout`` says: ``seeded``, ``random``, a file's name, or the head's.
    weight : ndarray, shape (V, width)
    bias : ndarray, shape (V,)
    reads : str or None
        Which output it reads, where that is a question (a bidirectional network has two ends).
    """

    name: str
    weight: Array
    bias: Array
    reads: str | None = None


def output_width(case: Case) -> int:
    """Components that a readout of this case alone sees: the top layer's h, or the whole state of ready Jacobians."""
    return case.tape.state_size if case.network is None else len(case.network.output_components)


def seeded_readout(case: Case, request: GradientsRequest, H: int) -> tuple[Array, Array]:
    """W_hy ~ N(0, 1/H), b_hy = 0, the same from the same seed."""
    classes = case.source.classes
    weight = generator(request.seed, "readout").standard_normal((classes, H)) / np.sqrt(H)
    return weight, np.zeros(classes)


def choose_readout(case: Case, request: GradientsRequest, *, width: int) -> Readout | str:
    """The readout of this case, or the sentence that says why there is none.

    No number is ever made from a random readout of a trained network unless ``--readout random`` asks for it.
    """
    if request.readout == "random":
        return Readout("random", *seeded_readout(case, request, output_width(case)))
    if request.readout is not None:
        return Readout(title_of(request.readout), *read_readout(request.readout, width))
    if case.source.spec.kind == "cell":
        return Readout("seeded", *seeded_readout(case, request, output_width(case)))
    found = case.source.file_head
    if found is not None and found.head is not None and found.head.weight.shape[1] != width:
        return f"{NO_LOSS}the head {found.head.title} reads more than {width} units: leave direction= out"
    if found is not None and found.head is not None:
        return _of_table(found.head, case)
    return _no_head(found.candidates if found is not None else (), width)


def what_follows(case: Case, readout: str | None) -> tuple[str, ...]:
    """A warning where another weight of the file may read what its head puts out."""
    found = case.source.file_head
    if found is None or found.head is None or readout != found.head.title or not found.followers:
        return ()
    after = ", ".join(table.title for table in found.followers[:4])
    return (
        f"{found.head.title} is taken for the readout, and {after} fits what it puts out: if that layer follows, "
        f"this is not your loss; head={found.head.name} says that it is the last, --readout FILE gives another",
    )


def _of_table(table: Table, case: Case) -> Readout:
    weight = np.asarray(table.weight, dtype=np.float64)
    bias = np.zeros(len(weight)) if table.bias is None else np.asarray(table.bias, dtype=np.float64)
    reads = "[h_T forward; h_1 backward], each direction's own end" if case.beside is not None else None
    return Readout(table.title, weight, bias, reads)


def _no_head(candidates: tuple[Table, ...], width: int) -> str:
    """One sentence for the loss columns that stay empty."""
    if candidates:
        listed = ", ".join(f"head={table.name}" for table in candidates[:6])
        return f"{NO_LOSS}several weights could be the head ({listed}): say which, or give --readout FILE"
    return f"{NO_LOSS}the file has no readout (V, {width}); give --readout FILE.npz or random"


def read_readout(given: str | GivenArray | GivenReadout, H: int) -> tuple[Array, Array]:
    """``weight`` (classes, H) and ``bias`` (classes,) from an .npz, or as a Python caller gives them.

    Raises
    ------
    InputError, ShapeError
    """
    name = title_of(given)
    if isinstance(given, str):
        from gradscope.sources.named_arrays import read_arrays

        arrays = read_arrays(Path(given), purpose="--readout")
    else:
        arrays = given.arrays if isinstance(given, GivenReadout) else {"weight": given.values}
    if "weight" not in arrays:
        raise InputError(f"--readout {name}: no array named weight; found {', '.join(arrays) or 'nothing'}.")
    weight = np.asarray(arrays["weight"], dtype=np.float64)
    if weight.ndim != 2 or weight.shape[1] != H or weight.shape[0] < 1:
        raise ShapeError(f"--readout {name}: wanted weight (classes, {H}), got {weight.shape}.")
    bias = np.asarray(arrays.get("bias", np.zeros(weight.shape[0])), dtype=np.float64)
    if bias.shape != (weight.shape[0],):
        raise ShapeError(f"--readout {name}: wanted bias ({weight.shape[0]},), got {bias.shape}.")
    return weight, bias
