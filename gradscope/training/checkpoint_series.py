"""``gradscope.series``: checkpoints of one training run as a map over training time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gradscope.analysis.request import GradientsRequest, Progress
from gradscope.errors import UsageError
from gradscope.keywords import LagsLike, changed_options, command_of, known_names_only, request_of, whole
from gradscope.measure_sources import assemble
from gradscope.records import Report
from gradscope.training.checkpoints import in_training_order, measure_checkpoints


@known_names_only
def series(
    *files: str | os.PathLike[str],
    step: str | None = None,
    steps: int | str = 100,
    inputs: str | os.PathLike[str] = "normal",
    tokens: str | None = None,
    time_major: bool | None = None,
    batch: int | str = 1,
    seed: int | str = 0,
    dtype: str = "float64",
    state: str | os.PathLike[str] | None = None,
    transient: int | str = 0,
    memory: int | str = "1G",
    anchor: str = "end",
    lags: LagsLike | None = None,
    epsilon: float | str = 1e-3,
    wrt: str = "state",
    per_layer: bool = False,
    loss: str = "cross-entropy",
    loss_at: str = "last",
    readout: str | os.PathLike[str] | None = None,
    target: int | float | str | os.PathLike[str] | None = None,
    truncation_bias: float | str = 0.05,
    need: int | str | None = None,
    lengths: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    jobs: int | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Measure every checkpoint as :func:`gradscope.gradients` does, one row each, in training order.

    Parameters
    ----------
    *files : str or path
        Checkpoints, each with its keys if it needs any; ``"run/step-*.pt:param=rnn"`` is every file that matches.
    step : str, optional
        A regular expression with one group around the training step in a name; by default it is the name's last
        number.
    store : path, optional
        JSON Lines, kept row by row; the same call continues where it stopped, and measures what is new.
    fresh : bool
        Forget what the store holds.
    jobs : int, optional
        Processes; more than one needs the usual ``__main__`` guard in scripts.
    steps, inputs, tokens, time_major, batch, seed, dtype, state, transient, memory, anchor, lags, epsilon, wrt, \
    per_layer, loss, loss_at, readout, target, truncation_bias, need, lengths, progress, command
        As for :func:`gradscope.gradients`; what is read here is read from files, since workers read it again.

    Returns
    -------
    Report
        One result, or one per layer and direction; a checkpoint that cannot be read is a row with its error.

    Raises
    ------
    GradscopeError
        As for :func:`gradscope.gradients`.
    """
    given = dict(locals())
    for name in ("inputs", "state", "readout", "target"):
        if isinstance(given[name], os.PathLike):
            given[name] = os.fspath(given[name])
        if given[name] is not None and not isinstance(given[name], str | int | float):
            raise UsageError(f"series: {name} should be a word or a file, which every worker reads; save the array")
    request = request_of(GradientsRequest, given)
    checkpoints = in_training_order([os.fspath(name) for name in files], step)
    options: dict[str, Any] = {
        field.name: getattr(request, field.name)
        for field in fields(request)
        if field.name not in ("progress", "figures") and getattr(request, field.name) != field.default
    }
    if fresh and store is None:
        raise UsageError("fresh forgets what a store holds: name it with store=")
    if command is None:
        asked = ({} if step is None else {"step": step}) | changed_options(request)
        command = command_of("series", [one.spec for one in checkpoints], asked)
    words = list(command)
    results = measure_checkpoints(
        checkpoints,
        options,
        settings={**request.settings(), "step": step},
        store=None if store is None else Path(store),
        fresh=fresh,
        jobs=None if jobs is None else whole("jobs", jobs),
        command=words,
        progress=progress,
    )
    return assemble("series", results, command=words, seed=request.seed, threads=1)
