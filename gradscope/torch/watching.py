"""``watch``: the gradient through time of a network that trains, without touching its training."""

from __future__ import annotations

import atexit
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gradscope._version import __version__
from gradscope.analysis.environment import describe_environment
from gradscope.errors import InputError, UsageError
from gradscope.records import Report, Result
from gradscope.torch.background import InOrder
from gradscope.torch.call_in_layers import CallInLayers
from gradscope.torch.fused_call import FusedCall, random_states_of, take_apart
from gradscope.torch.helper_process import HelperProcess
from gradscope.torch.recurrent_modules import choose, is_plain, recurrent_modules, title_of
from gradscope.torch.requirement import import_torch
from gradscope.torch.run_file import RunFile
from gradscope.torch.watched_step import Asked, StepRows, failed_row, rows_apart, rows_of_step, said_of
from gradscope.training.columns import WATCHED
from gradscope.training.summary import summarise

#: Passes whose gradients are waited for, at most: what is never differentiated is forgotten.
MOST_WAITING = 1000


def watch(
    model: Any,
    every: int = 100,
    path: str | Path | None = None,
    need: int | None = None,
    *,
    module: str | None = None,
    epsilon: float = 1e-3,
    truncation_bias: float = 0.05,
    step: Callable[[], int] | None = None,
    scaler: Any = None,
    overwrite: bool = False,
    background: bool = True,
) -> Watch:
    """Watch ∂L/∂h_t and ∂L/∂c_t through a fused nn.RNN, nn.LSTM or nn.GRU while it trains.

    On every ``every``-th training pass of the module, from the first, ∂L/∂output is taken where autograd computes it,
    and the adjoint recursion, from the weights in float64, gives the exact ∂L/∂h_t and ∂L/∂c_t of every layer and
    direction; beside them stand horizon and rate of the Jacobian product along the first sequence of the batch, and how
    long truncated backpropagation would have to be for its first sequences, each layer and direction by itself. Passes
    without gradients (validation) are not counted. Not one bit of the training, and of no random stream, is another
    than without.

    Parameters
    ----------
    model : nn.Module
        Before ``torch.compile``.
    every : int
        Passes from one watched step to the next.
    path : path, optional
        JSON Lines of rows as ``series`` has them, one per layer and direction, written while the network trains; read
        it with ``gradscope show``.
    need : int, optional
        How far back the task needs gradients; the first time that the reach falls below, a warning says so, once.
    module : str, optional
        Which recurrent module, by its name within the model, where there are several.
    epsilon : float
        Norm below which a gradient counts as gone (the horizon).
    truncation_bias : float
        Relative bias of ∂L/∂W_hh that truncated backpropagation may have (``tbptt_length``).
    step : callable, optional
        Gives the number of the training step that a row is called by, ``lambda: trainer.global_step``; the training
        passes of the module so far by default (with gradient accumulation one for each part of the batch).
    scaler : GradScaler, optional
        Whose scale is taken out of the gradients again.
    overwrite : bool
        Begin ``path`` again where there is one.
    background : bool
        Measure in a process of its own, while the training goes on; a row is there some steps later. At most two steps
        are waiting for it, then the training waits.

    Returns
    -------
    Watch
        A handle: ``rows``, ``report()``, ``close()``; a context manager.

    Raises
    ------
    InputError
        No module that can be watched, or several: the candidates are listed; a ``path`` that is there already.
    UsageError
        A number that makes no sense, a compiled model.

    Examples
    --------
    >>> with gradscope.torch.watch(model, every=100, path="run.jsonl", need=50):  # doctest: +SKIP
    ...     train(model)
    """
    return Watch(
        model, every=every, path=path, need=need, module=module, epsilon=epsilon, truncation_bias=truncation_bias,
        step=step, scaler=scaler, overwrite=overwrite, background=background,
    )  # fmt: skip


class Watch:
    """A watched module; see :func:`watch`.

    Attributes
    ----------
    module : str
        The name of the watched module.
    """

    def __init__(
        self,
        model: Any,
        *,
        every: int,
        path: str | Path | None,
        need: int | None,
        module: str | None,
        epsilon: float,
        truncation_bias: float,
        step: Callable[[], int] | None,
        scaler: Any,
        overwrite: bool,
        background: bool,
    ) -> None:
        if isinstance(every, bool) or int(every) != every or every < 1:
            raise UsageError(f"every={every}: wanted a whole number of passes, 1 or more")
        if need is not None and need < 0:
            raise UsageError(f"need={need}: wanted a number of steps back")
        if not 0 < epsilon < float("inf"):
            raise UsageError(f"epsilon={epsilon}: wanted a number above 0")
        if not 0 < truncation_bias < 1:
            raise UsageError(f"truncation_bias={truncation_bias}: wanted a share between 0 and 1, such as 0.05")
        self.module, chosen = _to_watch(model, module)
        self._rows: list[dict[str, Any]] = []
        self._work, self._helper = InOrder(), HelperProcess() if background else None
        self._at_exit = _close_at_exit(self)
        self._chosen, self._every, self._step, self._scaler = chosen, int(every), step, scaler
        self._asked = Asked(float(epsilon), need, float(truncation_bias))
        self._passes, self._random_states = 0, dict[str, Any]()
        self._waiting: deque[Any] = deque(maxlen=MOST_WAITING)
        self._said: set[str] = set()
        self._places = [
            (layer, direction)
            for layer in range(chosen.num_layers)
            for direction in ("forward", "backward")[: 2 if chosen.bidirectional else 1]
        ]
        self._file: RunFile | None = None
        if path is not None:
            self._file = RunFile(Path(path), self.report(), WATCHED, overwrite=overwrite)
        disabled: Any = import_torch().compiler.disable  # a compiled model runs its hooks outside of what is compiled
        self._handles = [
            chosen.register_forward_pre_hook(disabled(self._before), with_kwargs=True),
            chosen.register_forward_hook(disabled(self._after), with_kwargs=True),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows as in the file, in the order of training; what is being measured is waited for."""
        self._collect(wait=True)
        return self._rows

    def close(self) -> None:
        """Leave the module alone and end the file; a second time nothing happens."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for waiting in self._waiting:
            waiting.remove()
        self._waiting.clear()
        self._collect(wait=True)
        self._work.close()
        if self._helper is not None:
            self._helper.close()
        atexit.unregister(self._at_exit)
        if self._file is not None:
            self._file.end(self.report())
            self._file = None

    def report(self) -> Report:
        """What was seen so far: one result per layer and direction."""
        settings = {
            "every": self._every,
            "module": self.module,
            "epsilon": self._asked.epsilon,
            "need": self._asked.need,
            "truncation_bias": self._asked.truncation_bias,
            "watched": "while training",
        }
        chosen = self._chosen
        results = []
        for layer, direction in self._places:
            rows = [row for row in self.rows if (row["layer"], row["direction"]) == (layer, direction)]
            source = {
                "name": self.module or type(chosen).__name__,
                "cell": str(chosen.mode).partition("_")[0].lower(),
                "hidden": chosen.hidden_size,
                "layers": 1,
                "layer": layer,
                "direction": direction,
                "state_size": _state_size(chosen),
                "sha256": None,  # the weights change from row to row
            }
            columns = {name: [row[name] for row in rows] for name in WATCHED}
            results.append(Result(source, settings, columns, summarise(rows)))
        return Report(
            schema="gradscope/series/1",
            gradscope=__version__,
            command=(f"gradscope.torch.watch({self.module or 'model'}, every={self._every})",),
            seed=0,
            environment=describe_environment(None),
            results=tuple(results),
        )

    # --- hooks ----------------------------------------------------------------------------------------------------

    def _is_training_pass(self) -> bool:
        torch = import_torch()
        return bool(self._chosen.training and torch.is_grad_enabled())

    def _before(self, module: Any, args: Any, kwargs: Any) -> None:
        """Remember the random streams where dropout between layers will draw from them."""
        self._random_states = {}
        due = self._passes % self._every == 0 and self._is_training_pass()
        if due and module.dropout and module.num_layers > 1:
            self._random_states = random_states_of(args[0] if args else kwargs["input"])

    def _after(self, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Wait for the gradients of what the module gave."""
        if not self._is_training_pass():
            return
        self._collect(wait=False)
        torch = import_torch()
        left = list(out[1]) if isinstance(out[1], tuple) else [out[1]]
        given = out[0].data if isinstance(out[0], torch.nn.utils.rnn.PackedSequence) else out[0]
        tensors = [given, *left]
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        if not wanted:
            return
        here, self._passes = self._passes, self._passes + 1
        if here % self._every:
            return
        call = FusedCall.of(module, args, kwargs, out, self._random_states)
        number = here if self._step is None else self._step()
        places = [next(i for i, tensor in enumerate(tensors) if tensor is one) for one in wanted]

        def measured(gradients: Any) -> None:
            hook.remove()  # a graph that is gone through twice is one step
            if hook in self._waiting:
                self._waiting.remove(hook)
            found = [None] * len(tensors)
            for place, gradient in zip(places, gradients, strict=True):
                found[place] = gradient
            self._measure(call, number, found)

        hook = torch.autograd.graph.register_multi_grad_hook(wanted, measured, mode="all")
        self._waiting.append(hook)

    def _measure(self, call: FusedCall, step: Any, gradients: list[Any]) -> None:
        """Take what the step left behind, and hand it to the process that measures; the training goes on."""
        try:
            apart = _apart(call, gradients, self._scaler)
            if self._helper is None:
                self._work.add(rows_of_step, apart, step, self._asked)
            else:
                self._work.add(rows_apart, self._helper, apart, step, self._asked)
        except Exception as problem:  # nothing that goes wrong here may end the training
            self._work.add(StepRows, step, [], said_of(problem))
        if self._helper is None:
            self._collect(wait=True)

    def _collect(self, *, wait: bool) -> None:
        """Keep what has been measured, in the order of training; with ``wait`` all that is under way."""
        for found in self._work.done(wait=wait):
            rows = found.rows
            if found.error is not None:
                rows = [failed_row(found.step, *place, found.error) for place in self._places]
                self._say("error", f"step {found.step} could not be measured: {found.error}")
            self._rows += rows
            try:
                for result, row in enumerate(rows):
                    if self._file is not None:
                        self._file.add(result, row)
            except OSError as problem:
                self._file = None
                self._say("file", f"the file cannot be written any more ({problem.strerror}); rows are kept in memory")
            self._warn_of_reach(rows)

    def _warn_of_reach(self, rows: list[dict[str, Any]]) -> None:
        need = self._asked.need
        if need is None:
            return
        for row in rows:
            where = f"step {row['step']}: {title_of(self.module)}"
            where += f", layer {row['layer']} {row['direction']}" if len(rows) > 1 else ""
            if row["error"] is None and row["enough"] is None:
                self._say("short", f"{where}: its sequence is shorter than need={need}: nothing is known there")
            elif row["enough"] is False:
                reach = row["horizon_h"] if row["horizon_h"] is not None else row["horizon"]
                self._say("reach", f"{where}: gradients reach {reach} steps back, and the task needs {need}")

    def _say(self, kind: str, text: str) -> None:
        """A warning of each kind, once."""
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(f"gradscope: {text}", stacklevel=2)


def _close_at_exit(watched: Watch) -> Callable[[], None]:
    """A script that forgets to close loses no row."""
    reference = weakref.ref(watched)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close()

    return atexit.register(close)


def _apart(call: FusedCall, gradients: list[Any], scaler: Any) -> CallInLayers:
    """The call with its gradients, as the kernel orders them."""
    torch = import_torch()
    with torch.no_grad():
        if scaler is not None:
            scale = float(scaler.get_scale())
            gradients = [None if g is None else g.double() / scale for g in gradients]
        if any(g is not None and not torch.isfinite(g).all() for g in gradients):
            raise InputError("the gradient that comes into the module is not finite")
        output, *last = gradients
        if output is not None and call.batch_sizes is None:
            output = call.time_first(output)
        return take_apart(call, output, [None if g is None else call.last_state_gradient(g) for g in last])


def _state_size(module: Any) -> int:
    h = module.proj_size or module.hidden_size
    return int(h + (module.hidden_size if module.mode == "LSTM" else 0))


def _to_watch(model: Any, module: str | None) -> tuple[str, Any]:
    """The fused module that is meant, by its name."""
    torch = import_torch()
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"watch wants an nn.Module, got {type(model).__name__}")
    if hasattr(model, "_orig_mod"):
        raise UsageError("watch sees nothing of a compiled model: watch the model, then torch.compile it")
    found = recurrent_modules(model)
    fused = {name: one for name, one in found.items() if isinstance(one, torch.nn.RNNBase)}
    if (module is not None and module in found and module not in fused) or (found and not fused):
        cell = module or next(iter(found))
        raise InputError(
            f"{title_of(cell)} is a {type(found[cell]).__name__}: its states are tensors of yours, so h.retain_grad() "
            "has ∂L/∂h_t; watch is for fused nn.RNN, nn.LSTM, nn.GRU"
        )
    name = choose(fused, module, what=type(model).__name__)
    if not is_plain(fused[name]):
        raise InputError(f"{title_of(name)} is a {type(fused[name]).__name__} with a forward of its own: not watched")
    return name, fused[name]
