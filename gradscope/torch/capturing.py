"""``capture``: the recurrent module of a model with the inputs that it really reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.torch.recurrent_modules import choose, is_plain, recurrent_modules, title_of, weights_of
from gradscope.torch.requirement import import_torch

#: Weights by name, or these with a key that the names cannot tell (an nn.RNN with relu).
CapturedSource = dict[str, Any] | tuple[dict[str, Any], str]


class Captured(tuple[CapturedSource, Array]):
    """The pair (source, inputs), with what else was seen.

    Attributes
    ----------
    module : str
        Name of the module within the model.
    state : ndarray or None
        The state it was started from, (batch, n) as ``state=`` takes it; None for zeros.
    lengths : ndarray of int
        Steps of each sequence of the batch, before any was left out.
    """

    module: str
    state: Array | None
    lengths: Array


@dataclass(frozen=True)
class _Call:
    """What one call of a module read and left: x time first, states as torch has them (None if not given)."""

    x: Any
    lengths: Any
    given: Any
    left: Any


def capture(model: Any, batch: Any, *, module: str | None = None, call: int | None = None) -> Captured:
    """Run a model once, without gradients, and take what its recurrent module read.

    The pair goes straight into a verb::

        source, inputs = gradscope.torch.capture(model, batch)
        gradscope.gradients(source, inputs=inputs)

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode (afterwards in the mode it was in); no parameter, buffer or random stream changes.
    batch
        What it is called with: one argument, a tuple or list of arguments, or a dictionary of keyword arguments.
    module : str, optional
        Which recurrent module, by its name within the model, where there are several.
    call : int, optional
        Which call, from 0, where the module is called more than once. Calls that each start from the state the one
        before has left (a cell in a loop) are one sequence and need no answer.

    Returns
    -------
    Captured
        ``(source, inputs)``: the weights by PyTorch's names (as they are used: parametrisations applied) together
        with the model's other tensors, among which are its head and its embedding; inputs (batch, T, I). The initial
        state is in the attribute ``state``. Of sequences of unequal length the longest are kept, and a warning says
        how many: padding is not input.

    Raises
    ------
    InputError
        No recurrent module or several, one that was not called or was called several times: the candidates are
        listed with what picks one.
    """
    torch = import_torch()
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"capture wants an nn.Module, got {type(model).__name__}")
    modules = recurrent_modules(model)
    if module is not None:
        choose(modules, module, what=type(model).__name__)
    calls: dict[str, list[_Call]] = {name: [] for name in modules}
    with _listening(modules, calls), evaluating(model), torch.no_grad(), torch.random.fork_rng():
        _run(model, batch)
    called = {name: modules[name] for name, found in calls.items() if found}
    if modules and not called:
        listed = ", ".join(map(title_of, list(modules)[:12]))
        raise InputError(
            f"the batch went through {type(model).__name__} without calling its recurrent module: {listed}"
        )
    if module is not None and module not in called:
        raise InputError(
            f"module={module!r} was not called by this batch; called were {', '.join(map(title_of, called))}"
        )
    name = choose(called, module, what=type(model).__name__)
    chosen = modules[name]
    if not is_plain(chosen):
        raise InputError(
            f"{title_of(name)} is a {type(chosen).__name__} with a forward of its own, so its weights do not say what "
            "it computes: use gradscope.torch.measure(step, inputs, state)"
        )
    seen = _one_sequence(calls[name], name, call)
    inputs, state, lengths = _longest(seen, name)
    found = Captured((_source(model, modules, name), inputs))
    found.module, found.state, found.lengths = name, state, lengths
    return found


def _run(model: Any, batch: Any) -> None:
    try:
        if isinstance(batch, Mapping):
            model(**batch)
        elif isinstance(batch, tuple | list):
            model(*batch)
        else:
            model(batch)
    except TypeError as problem:
        raise UsageError(
            f"the batch does not fit {type(model).__name__}.forward ({problem}): give what the model is called with, "
            "a tuple of arguments or a dictionary of keyword arguments, without targets"
        ) from problem


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode, and afterwards each submodule's own."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _listening(modules: dict[str, Any], calls: dict[str, list[_Call]]) -> Iterator[None]:
    handles = []
    try:
        for name, module in modules.items():

            def hear(module: Any, args: Any, kwargs: Any, out: Any, name: str = name) -> None:
                calls[name].append(_call_of(module, args, kwargs, out))

            handles.append(module.register_forward_hook(hear, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _call_of(module: Any, args: Any, kwargs: Any, out: Any) -> _Call:
    """Read a call: x time first (T, batch, I), states with the batch axis in the middle (layers, batch, n)."""
    torch = import_torch()
    x = args[0] if args else kwargs["input"]
    given = args[1] if len(args) > 1 else kwargs.get("hx")
    if isinstance(module, torch.nn.RNNCellBase):
        lone = x.ndim == 1
        states = [_cell_state(part, lone) for part in (given, out)]
        x = x[None, None] if lone else x[None]
        return _Call(_kept(x), np.full(x.shape[1], 1), states[0], states[1])
    left = out[1]
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(x)
        return _Call(_kept(padded), lengths.numpy(), _layer_states(given, False), _layer_states(left, False))
    lone = x.ndim == 2
    if lone:
        x = x[:, None]
    elif module.batch_first:
        x = x.transpose(0, 1)
    return _Call(_kept(x), np.full(x.shape[1], len(x)), _layer_states(given, lone), _layer_states(left, lone))


def _kept(x: Any) -> Any:
    return x.detach().clone().cpu()


def _parts(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple | list) else [state]


def _cell_state(state: Any, lone: bool) -> list[Any] | None:
    """h, or h and c, of a cell as (1, batch, H)."""
    if state is None:
        return None
    return [_kept(part[None, None] if lone else part[None]) for part in _parts(state)]


def _layer_states(state: Any, lone: bool) -> list[Any] | None:
    """h, or h and c, of all layers and directions as (layers, batch, H)."""
    if state is None:
        return None
    return [_kept(part[:, None] if lone else part) for part in _parts(state)]


def _one_sequence(calls: list[_Call], name: str, call: int | None) -> _Call:
    torch = import_torch()
    if call is not None:
        if not 0 <= call < len(calls):
            raise UsageError(f"call={call}: {title_of(name)} was called {len(calls)} times, counted from 0")
        return calls[call]
    for before, after in pairwise(calls):
        known = before.left is not None and after.given is not None
        if not known or not all(torch.equal(a, b) for a, b in zip(before.left, after.given, strict=True)):
            raise InputError(
                f"{title_of(name)} was called {len(calls)} times, and not as one sequence (each call from the state "
                f"the one before has left): pick one with call=0 … call={len(calls) - 1}"
            )
    x = torch.cat([one.x for one in calls])
    lengths = np.sum([one.lengths for one in calls], axis=0)
    return _Call(x, lengths, calls[0].given, calls[-1].left)


def _longest(seen: _Call, name: str) -> tuple[Array, Array | None, Array]:
    """Inputs and initial states of the sequences that fill the batch's T steps."""
    x = seen.x.double().numpy().swapaxes(0, 1)
    T = int(seen.lengths.max()) if seen.lengths.size else 0
    full = seen.lengths == T
    if not full.all():
        warnings.warn(
            f"{title_of(name)}: {int(full.sum())} of {len(full)} sequences are as long as the longest ({T} steps) and "
            "are kept; the others end in padding",
            stacklevel=4,
        )
    state = None
    if seen.given is not None:
        # (layers, batch, H) of h and of c as [h1; c1; h2; c2] for each sequence.
        parts = [part.double().numpy() for part in seen.given]
        layered = [part[layer] for layer in range(len(parts[0])) for part in parts]
        state = np.concatenate(layered, axis=-1)[full]
        state = state if state.any() else None
    return np.ascontiguousarray(x[full][:, :T]), state, seen.lengths


def _source(model: Any, modules: dict[str, Any], name: str) -> CapturedSource:
    """The chosen module's weights, and what stands outside every recurrent module (head, embedding)."""
    chosen = modules[name]
    inside = tuple(f"{other}." if other else "" for other in modules)
    beside = {
        key: value.detach().clone().cpu()
        for key, value in model.state_dict().items()
        if hasattr(value, "detach") and not key.startswith(inside)
    }
    weights = {**weights_of(chosen, name), **beside}
    nonlinearity = getattr(chosen, "nonlinearity", "tanh")
    return weights if nonlinearity == "tanh" else (weights, f"activation={nonlinearity}")
