"""``measure``: the gradient at every lag of any step function, from its own autograd Jacobians."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from gradscope.analysis.request import GradientsRequest, Progress
from gradscope.analysis.threads import blas_threads, choose_threads
from gradscope.errors import ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.keywords import LagsLike, known_names_only, request_of, whole
from gradscope.measure_sources import assemble
from gradscope.records import Report
from gradscope.torch.capturing import evaluating
from gradscope.torch.from_jacobians import measure_jacobians
from gradscope.torch.requirement import import_torch
from gradscope.torch.states import StateLayout, leaves_of, nesting_of, rebuilt
from gradscope.torch.step_jacobians import Linearised, StepOfVectors, linearise


@known_names_only
def measure(
    step: Callable[[Any, Any], Any],
    inputs: Any,
    state: Any = None,
    *,
    visible: int | None = None,
    name: str | None = None,
    anchor: str = "end",
    lags: LagsLike | None = None,
    epsilon: float | str = 1e-3,
    need: int | str | None = None,
    memory: int | str = "1G",
    method: str = "auto",
    threads: int | str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure ∂s_T/∂s_{T−k} of any recurrence that torch can differentiate; the report is that of ``gradients``.

    J_t is taken by ``vmap(jacrev)`` at every visited state, in float64. Nothing else is known of ``step``, so the
    theory columns are null; for nn.RNN, nn.LSTM and nn.GRU see :func:`gradscope.gradients`.

    Parameters
    ----------
    step : callable or nn.Module
        ``step(x, state) -> state``, as torch's cells have it; of ``(output, state)`` the state is taken, and a warning
        says so. A module is run in float64 (its own weights are left as they are); a function in the dtype of what it
        closes over.
    inputs : Tensor or array, shape (T, I) or (batch, T, I)
        With a batch, ``step`` is called with x of shape (batch, I) and states that begin with a batch axis; without,
        with (I,) and states of one sample.
    state : Tensor or nested tuples, lists and dictionaries of them, optional
        s_0; complex tensors count by real and imaginary part. Without it, zeros shaped as ``step(x, None)`` returns.
    visible : int, optional
        Which tensor of a nested state the output is (``log10_norm_h``). A pair of tensors of one shape is read as
        torch's (h, c), so 0; any other nested state is taken as a whole.
    name : str, optional
        What the report calls it.
    memory : int or str
        Bytes that the Jacobians may take.
    anchor, lags, epsilon, need, method, threads, progress
        As for :func:`gradscope.gradients`.

    Returns
    -------
    Report

    Raises
    ------
    ShapeError
        Inputs, state and what ``step`` returns do not fit together.
    UsageError
        An unknown option, or Jacobians that take more than ``memory``.
    UntrustedNumbersError
        The state leaves the finite numbers, or a sample alone takes another step than in its batch.

    Examples
    --------
    >>> import torch, gradscope.torch                                     # doctest: +SKIP
    >>> cell = torch.nn.LSTMCell(3, 8)                                    # doctest: +SKIP
    >>> report = gradscope.torch.measure(cell, torch.randn(50, 3))        # doctest: +SKIP
    """
    options = {
        "anchor": anchor, "lags": lags, "epsilon": epsilon, "need": need, "memory": memory, "method": method,
        "progress": progress,
    }  # fmt: skip
    torch = import_torch()
    x = torch.as_tensor(inputs).detach().cpu()
    if x.ndim not in (2, 3) or not x.is_floating_point():
        raise ShapeError(
            f"inputs should be real numbers (T, I) or (batch, T, I), but came as {tuple(x.shape)} {x.dtype}"
        )
    batched = x.ndim == 3
    x = x.transpose(0, 1) if batched else x[:, None]
    request = request_of(GradientsRequest, {**options, "steps": len(x), "batch": x.shape[1], "loss": "none"})
    with evaluating(step) if isinstance(step, torch.nn.Module) else nullcontext():
        found, layout, warnings, dtype = _linearise(step, x, state, batched, request)
    if found.disagrees:
        warnings.append(
            "autograd's derivative of step is not its derivative (a central difference gives another one): a "
            "hand-written backward is wrong, or a surrogate gradient or detach is meant; the numbers are about what "
            "training sees"
        )
    if not found.batched_by_vmap:
        warnings.append(
            "step cannot be differentiated side by side (vmap), so each component took a backward pass of its own: "
            "the same numbers, slower"
        )
    name = str(name or getattr(step, "__name__", type(step).__name__))
    corner = _visible_components(layout, visible)
    settings = {
        "inputs": f"given {tuple(np.shape(inputs))}",
        "state": "given" if state is not None else None,
        "dtype": dtype,
    }
    cell = type(step).__name__ if isinstance(step, torch.nn.Module) else "step function"
    count = choose_threads(None if threads is None else whole("threads", threads), layout.size)
    with blas_threads(count):
        result = measure_jacobians(
            found.states, found.jacobians, corner, request, name=name, cell=cell, settings=settings, warnings=warnings
        )
    call = _call(name, state is not None, {"visible": visible, **options, "lags": request.lags_text})
    return assemble("gradients", [result], command=(call,), seed=0, threads=count)


def _call(name: str, with_state: bool, options: dict[str, Any]) -> str:
    """The Python call that gives the same numbers."""
    usual = {key: parameter.default for key, parameter in inspect.signature(measure).parameters.items()}
    words = [name, "inputs", *(["state"] if with_state else [])]
    words += [f"{key}={value!r}" for key, value in options.items() if key != "progress" and value != usual[key]]
    return f"gradscope.torch.measure({', '.join(words)})"


def _linearise(
    step: Any, x: Any, state: Any, batched: bool, request: GradientsRequest
) -> tuple[Linearised, StateLayout, list[str], str]:
    """Run and differentiate, in float64 where that can be done."""
    torch = import_torch()
    wide = _in_float64(step)
    first = x[0] if batched else x[0, 0]
    warnings: list[str] = []
    try:
        call, dtype = wide, torch.float64
        call, given = _of_states(call, state, first.to(dtype), batched, warnings)
        layout = StateLayout.of(given, batched=batched)
        _weigh(layout.size, x, request)
    except RuntimeError as problem:
        if isinstance(step, torch.nn.Module) or not any(word in str(problem) for word in ("dtype", "Float")):
            raise
        # A function over float32 weights that this side cannot see.
        call, dtype = step, torch.float32
        call, given = _of_states(call, state, first.to(dtype), batched, warnings)
        layout = StateLayout.of(given, batched=batched)
        warnings.append(
            "step computes in float32, so its Jacobians have seven digits; pass the nn.Module itself, or make what it "
            "closes over .double()"
        )
    if batched:
        found, wanted = len(leaves_of(given)[0]), int(x.shape[1])
        if found != wanted:
            raise ShapeError(f"inputs hold {wanted} sequences, but the state holds {found}")
        s0 = layout.pack(given, lead=(wanted,))
    else:
        s0 = layout.pack(given)[None]
    vectors = StepOfVectors(call, layout, batched)
    track = request.track("Jacobians")
    return linearise(vectors, x.to(dtype), s0, progress=track), layout, warnings, str(dtype).removeprefix("torch.")


def _in_float64(step: Any) -> Callable[[Any, Any], Any]:
    """The step with the module's weights in float64, the module left as it is."""
    torch = import_torch()
    if not isinstance(step, torch.nn.Module):
        return step  # type: ignore[no-any-return]
    wide = {
        name: tensor.detach().to(torch.complex128 if tensor.is_complex() else torch.float64)
        if tensor.is_complex() or tensor.is_floating_point()
        else tensor.detach()
        for name, tensor in (*step.named_parameters(), *step.named_buffers())
    }
    wide = {name: tensor.cpu() for name, tensor in wide.items()}
    return lambda x, state: torch.func.functional_call(step, wide, (x, state))


def _of_states(
    call: Callable[[Any, Any], Any], state: Any, x: Any, batched: bool, warnings: list[str]
) -> tuple[Callable[[Any, Any], Any], Any]:
    """The step as ``(x, state) -> state``, and s_0 in the dtype of x; what also returns an output is taken apart."""
    torch = import_torch()
    with torch.no_grad():
        if state is None:
            s0, second = _zeros(call, x)
        else:
            StateLayout.of(state, batched=batched)  # what is no tensor is said before it is converted
            wide = torch.complex128 if x.dtype == torch.float64 else torch.complex64
            converted = [leaf.detach().cpu().to(wide if leaf.is_complex() else x.dtype) for leaf in leaves_of(state)]
            s0 = rebuilt(state, iter(converted))
            came = call(x, s0)
            pair = isinstance(came, tuple) and len(came) == 2
            second = pair and nesting_of(came) != nesting_of(s0) == nesting_of(came[1])
    if second:
        warnings.append("step returns a pair, read as (output, state): the state is its second part")
        return (lambda x, s: call(x, s)[1]), s0
    return call, s0


def _zeros(call: Callable[[Any, Any], Any], x: Any) -> tuple[Any, bool]:
    """Zeros like the state that ``step(x, None)`` leaves, and whether that is the second of a pair it returns."""
    torch = import_torch()
    try:
        came = call(x, None)
    except (TypeError, AttributeError) as problem:
        raise UsageError(f"step(x, None) fails ({problem}): give measure a state, s_0") from None
    zeros = rebuilt(came, iter([torch.zeros_like(leaf) for leaf in leaves_of(came)]))
    try:
        call(x, zeros)
    except Exception as problem:  # it is the step's own, whatever it is: what it left cannot be handed in again
        if not (isinstance(came, tuple) and len(came) == 2):
            raise UsageError(f"step(x, None) leaves a state that step cannot go on from ({problem})") from problem
        try:
            call(x, zeros[1])
        except Exception:
            said = " ".join(str(problem).split())[:200]
            raise UsageError(
                f"step cannot go on from what step(x, None) returned ({said}): give measure a state, s_0"
            ) from problem
        return zeros[1], True
    return zeros, False


def _weigh(n: int, x: Any, request: GradientsRequest) -> None:
    size = 8 * n * n * x.shape[0] * x.shape[1]
    if size > request.memory:
        raise UsageError(
            f"Jacobians of {x.shape[0]} steps × {x.shape[1]} sequences × {n}² take {size / 2**30:.1f} GiB, more than "
            f"memory={request.memory}: fewer steps or sequences, or a larger memory="
        )


def _visible_components(layout: StateLayout, visible: int | None) -> Array | None:
    """Where the output stands within the packed state; None for all of it."""
    sizes = layout.sizes
    if visible is None:
        pair = isinstance(layout.template, tuple | list) and len(sizes) == 2 and len(set(layout.shapes)) == 1
        if not pair or any(layout.is_complex):
            return None
        visible = 0
    if not 0 <= visible < len(sizes):
        raise UsageError(f"visible={visible}: the state holds {len(sizes)} tensors, counted from 0")
    if len(sizes) == 1:
        return None
    start = sum(sizes[:visible])
    return np.arange(start, start + sizes[visible])
