"""``sweep`` as a Python function: a grid of points over cells, files, and networks that are in memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.analysis.request import Progress, RunRequest
from gradscope.errors import UsageError, did_you_mean
from gradscope.keywords import (
    ReadoutLike,
    TextOrNumbers,
    command_of,
    known_names_only,
    options_of,
    whole,
)
from gradscope.records import Report
from gradscope.sources.build import build_source
from gradscope.sources.given_arrays import GivenArray, GivenReadout
from gradscope.sources.live import SourceLike, spec_of
from gradscope.sources.spec import SourceSpec

if TYPE_CHECKING:
    from concurrent.futures import Executor


@known_names_only
def sweep(
    *sources: SourceLike,
    vary: str | Sequence[str] | Mapping[str, Any],
    measure: str = "gradients",
    zipped: bool = False,
    store: str | os.PathLike[str] | None = None,
    jobs: int | str | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    fresh: bool = False,
    extend: bool = False,
    fail_fast: bool = False,
    value: str | None = None,
    steps: int | str | None = None,
    inputs: TextOrNumbers | None = None,
    tokens: TextOrNumbers | None = None,
    batch: int | str | None = None,
    seed: int | str | None = None,
    dtype: str | None = None,
    state: TextOrNumbers | None = None,
    transient: int | str | None = None,
    time_major: bool | None = None,
    memory: int | str | None = None,
    anchor: str | None = None,
    epsilon: float | str | None = None,
    wrt: str | None = None,
    loss: str | None = None,
    loss_at: str | None = None,
    readout: ReadoutLike | None = None,
    target: int | float | TextOrNumbers | None = None,
    truncation_bias: float | str | None = None,
    need: int | str | None = None,
    lengths: TextOrNumbers | None = None,
    method: str | None = None,
    k: int | str | None = None,
    closed_loop: bool | None = None,
    covariant: bool | None = None,
    singular_values: bool | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    r"""Measure a grid of points: a row per point, the varied keys and then the summary fields.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`; what is in memory is written to a temporary folder for the workers.
    vary : str, sequence of str, or mapping
        ``"gain=0.5:1.5:0.1"``, ``["init=gaussian,orthogonal", "hidden=log:16:256:5"]``, or
        ``{"gain": [0.5, 1.0], "seed": range(1, 6)}``.
    measure : {"gradients", "spectrum", "lyapunov"}
    zipped : bool
        Pair the values of several keys instead of crossing them.
    store : path, optional
        JSON Lines, kept row by row; the same call continues where it stopped.
    jobs, dask, executor
        Processes here; the address of a Dask scheduler; or any ``concurrent.futures.Executor`` (loky, mpi4py.futures),
        which stays the caller's.
    fresh, extend, fail_fast : bool
        Forget what the store holds; add new values to it; stop at the first point that fails.
    value : str, optional
        The field that a heat map shows.
    steps, inputs, tokens, batch, seed, dtype, state, transient, time_major, memory, anchor, epsilon, wrt, loss, \
    loss_at, readout, target, truncation_bias, need, lengths, method, k, closed_loop, covariant, singular_values
        As for the verb that is measured; by default its own (and ``loss="none"``, which no summary field needs).
    progress, command
        As for :func:`gradients`.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        As for :func:`gradients`; an option that the measured verb does not have.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from gradscope.sweeps.grid_sweep import run_sweep
    from gradscope.sweeps.plan import make_plan
    from gradscope.sweeps.point import request_class

    specs = [spec_of(source) for source in sources]
    varied = written_values(vary)
    options = options_of(request_class(measure), {name: given[name] for name in given if name not in _OF_A_SWEEP})
    jobs = None if jobs is None else whole("jobs", jobs)
    if command is None:
        asked = {"vary": tuple(varied), **{name: given[name] for name in _SAID if given.get(name)}, **options}
        if measure != "gradients":
            asked["measure"] = measure
        command = command_of("sweep", specs, asked)
    options = {**_run_defaults(), **options}
    with ExitStack() as stack:
        folder = Folder(stack)
        texts = [folder.source(spec) for spec in specs]
        plan = make_plan(
            texts, varied, measure=measure, zipped=zipped, **{k: folder.option(k, v) for k, v in options.items()}
        )
        if value is not None and value not in plan.columns(0):
            known = ", ".join(plan.columns(0))
            raise UsageError(f"--value: no column '{value}'.{did_you_mean(value, plan.columns(0))} Known: {known}.")
        return run_sweep(
            plan,
            store=None if store is None else Path(store),
            jobs=jobs,
            dask=dask,
            executor=executor,
            fresh=fresh,
            extend=extend,
            fail_fast=fail_fast,
            command=command,
            shown={} if value is None else {"value": value},
            progress=progress,
        )


#: Arguments that are no options of the measured verb …
_OF_A_SWEEP = {
    "sources", "vary", "measure", "zipped", "store", "jobs", "dask", "executor", "fresh", "extend", "fail_fast",
    "value", "progress", "command",
}  # fmt: skip
#: … and those of them that decide what is in the report: who measures a point, and where rows are kept, does not.
_SAID = ("zipped", "value")


def _run_defaults() -> dict[str, Any]:
    """What every run has, said in full as the command line says it: one sweep has one identity."""
    return {field.name: field.default for field in fields(RunRequest) if field.name != "progress"}


def written_values(vary: str | Sequence[str] | Mapping[str, Any]) -> list[str]:
    """``KEY=VALUES`` as the command line writes them.

    >>> written_values({"gain": [0.5, 1.0], "seed": range(1, 4), "init": "gaussian,orthogonal"})
    ['gain=0.5,1.0', 'seed=1,2,3', 'init=gaussian,orthogonal']
    """
    if isinstance(vary, str):
        return [vary]
    if isinstance(vary, Mapping):
        return [f"{key}={_listed(values)}" for key, values in vary.items()]
    found = list(vary) if isinstance(vary, Iterable) else [vary]
    if not all(isinstance(item, str) for item in found):
        raise UsageError('vary: wanted "KEY=VALUES", a list of these, or a mapping of keys to values.')
    return found


def _listed(values: Any) -> str:
    if isinstance(values, str):
        return values
    items = values if isinstance(values, Iterable) else [values]
    return ",".join(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


class Folder:
    """Files for the workers of a sweep: what is in memory here is nowhere else.

    Parameters
    ----------
    stack : ExitStack
        Removes them at its end.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._path = stack, ""

    def _place(self, name: str, ending: str) -> str:
        self._path = self._path or self._stack.enter_context(TemporaryDirectory(prefix="gradscope-"))
        stem = "".join(sign if sign.isalnum() or sign == "_" else "_" for sign in name)
        place, n = Path(self._path) / f"{stem}{ending}", 1
        while place.exists():
            n += 1
            place = Path(self._path) / f"{stem}_{n}{ending}"
        return str(place)

    def source(self, spec: SourceSpec) -> str:
        """The source as text; arrays in a file, with what a live module says of itself among the keys."""
        if spec.held is None:
            return spec.as_text
        from gradscope.sources.held import HeldWeights

        keys = spec.text[len(spec.name) + 1 :]
        if not isinstance(spec.held, HeldWeights):
            place = self._place(spec.name, ".npy")
            np.save(place, spec.held.values)
        else:
            place = self._place(spec.name, ".npz")
            _write_npz(place, spec.held.arrays)
            if spec.held.activations and "activation" not in spec.given:
                cells = [named.cell for named in build_source(spec, seed=0).named_cells]
                if len(cells[0].gates) == 1:
                    keys = ",".join(filter(None, (keys, f"activation={cells[0].activation.name}")))
        return f"{place}:{keys}" if keys else place

    def option(self, name: str, value: Any) -> Any:
        """An option's value; an array as the path of its file."""
        if isinstance(value, GivenArray):
            place = self._place(name, ".npy")
            np.save(place, value.values)
            return place
        if isinstance(value, GivenReadout):
            place = self._place(name, ".npz")
            _write_npz(place, value.arrays)
            return place
        return value


def _write_npz(place: str, arrays: Mapping[str, Any]) -> None:
    """As ``numpy.savez``, for names that are arguments of its own too; without what is no number."""
    with zipfile.ZipFile(place, "w") as archive:
        for name, values in arrays.items():
            if values.dtype.kind in "fiub":
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)
