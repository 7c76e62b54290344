"""One call of a fused nn.RNN, nn.LSTM or nn.GRU: what it read and gave, taken apart into layers and directions.

The states of lower layers never leave the fused kernel, so they are run again, layer by layer, with the same kernel
and the same dropout masks (the random stream is set back for that and put where it was).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.base import Array
from gradscope.torch.adjoint import Graded, LayerAdjoint, carry_back
from gradscope.torch.layer_steps import LayerWeights, VisitedLayer
from gradscope.torch.requirement import import_torch

#: How far one step of the float64 equations may lie from the module's own, relative to the state, by bytes of a number.
STEP_TOLERANCE = {8: 1e-9, 4: 2e-4, 2: 5e-2}


@dataclass(frozen=True)
class FusedCall:
    """A call in the module's own dtype and device, detached; batches in the order of the kernel.

    Attributes
    ----------
    x : Tensor
        (T, batch, I), or (Σ lengths, I) where packed.
    out : Tensor
        (T, batch, D·P), or packed.
    given : list of Tensor or None
        h_0, for an lstm c_0 as well, each (L·D, batch, n).
    batch_sizes : Tensor or None
        Of a packed batch.
    order : ndarray of int
        Where each of the caller's sequences stands in the kernel's batch.
    random_states : dict
        Of the random streams before the call, where dropout draws from them.
    """

    module: Any
    x: Any
    out: Any
    given: list[Any] | None
    batch_sizes: Any
    order: Array
    random_states: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, module: Any, args: Any, kwargs: Any, out: Any, random_states: dict[str, Any]) -> FusedCall:
        """Read a forward call; copies what the caller may overwrite."""
        torch = import_torch()
        x = args[0] if args else kwargs["input"]
        given = args[1] if len(args) > 1 else kwargs.get("hx")
        parts = None if given is None else list(given) if isinstance(given, tuple | list) else [given]
        if isinstance(x, torch.nn.utils.rnn.PackedSequence):
            order = np.arange(int(x.batch_sizes[0]))
            if x.sorted_indices is not None:
                order[x.sorted_indices.cpu().numpy()] = np.arange(len(order))
                parts = None if parts is None else [part.index_select(1, x.sorted_indices) for part in parts]
            heard, left, sizes = x.data, out[0].data, x.batch_sizes
        else:
            heard, left, sizes = _time_first(module, x), _time_first(module, out[0]), None
            order = np.arange(heard.shape[1])
            if x.ndim == 2 and parts is not None:
                parts = [part[:, None] for part in parts]
        parts = None if parts is None else [part.detach().clone() for part in parts]
        return cls(module, heard.detach().clone(), left.detach().clone(), parts, sizes, order, random_states)

    @property
    def directions(self) -> int:
        """D."""
        return 2 if self.module.bidirectional else 1

    @property
    def kind(self) -> str:
        """rnn, relu, lstm or gru."""
        mode = str(self.module.mode)
        return {"RNN_TANH": "rnn", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}[mode]

    def padded(self, flat: Any) -> Array:
        """(T, batch, n) in float64, zeros where a sequence has ended."""
        torch = import_torch()
        if self.batch_sizes is not None:
            packed = torch.nn.utils.rnn.PackedSequence(flat, self.batch_sizes)
            flat, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
        return np.asarray(flat.detach().cpu().double().numpy())

    def live(self) -> Array:
        """Where a sequence is there, (T, batch) of bool."""
        if self.batch_sizes is None:
            return np.ones(self.x.shape[:2], dtype=bool)
        sizes = self.batch_sizes.numpy()
        return np.asarray(np.arange(sizes[0]) < sizes[:, None])

    def start(self) -> list[Any]:
        """h_0 (and c_0), zeros where none was given."""
        if self.given is not None:
            return self.given
        module = self.module
        batch = int(self.batch_sizes[0]) if self.batch_sizes is not None else self.x.shape[1]
        layers = module.num_layers * self.directions
        widths = [module.proj_size or module.hidden_size, *([module.hidden_size] if self.kind == "lstm" else [])]
        return [self.x.new_zeros(layers, batch, width) for width in widths]

    def last_state_gradient(self, gradient: Any) -> Any:
        """∂L/∂h_n or ∂L/∂c_n as the kernel orders batches: (L·D, batch, n)."""
        if gradient.ndim == 2:
            return gradient[:, None]
        if self.batch_sizes is not None:
            torch = import_torch()
            return gradient.index_select(1, torch.as_tensor(np.argsort(self.order), device=gradient.device))
        return gradient


def _time_first(module: Any, x: Any) -> Any:
    if x.ndim == 2:
        return x[:, None]
    return x.transpose(0, 1) if module.batch_first else x


@dataclass(frozen=True)
class LayerOfCall:
    """One layer and direction of a call.

    Attributes
    ----------
    layer, direction : int, {"forward", "backward"}
    visited : VisitedLayer
        In processing order.
    x : ndarray, shape (T, batch, I)
        What it read, in processing order.
    adjoint : LayerAdjoint
        In processing order.
    """

    layer: int
    direction: str
    visited: VisitedLayer
    x: Array
    adjoint: LayerAdjoint


def differentiate(call: FusedCall, output: Any, last: list[Any]) -> list[LayerOfCall]:
    """∂L/∂h_t and ∂L/∂c_t of every layer and direction, bottom first.

    Parameters
    ----------
    output : Tensor or None
        ∂L/∂output, shaped as ``call.out``.
    last : list of (Tensor or None)
        ∂L/∂h_n (and ∂L/∂c_n).

    Raises
    ------
    UntrustedNumbersError
        The module does not compute what its weights say (other dropout masks than could be found again, a kernel of
        another function).
    """
    torch = import_torch()
    with torch.no_grad():
        heard, masks, left = _layer_by_layer(call)
        start = [part.detach().cpu().double().numpy() for part in call.start()]
        live = call.live()
        found: list[LayerOfCall] = []
        P, D = call.module.proj_size or call.module.hidden_size, call.directions
        above = Graded.of(call.padded(call.out if output is None else output) * (output is not None))
        for layer in range(call.module.num_layers - 1, -1, -1):
            x, states = call.padded(heard[layer]), call.padded(left[layer])
            here = []
            for d in range(D):
                index, turn = layer * D + d, slice(None, None, -1 if d else 1)
                own = slice(d * P, (d + 1) * P)
                h = _with_start(start[0][index], states[turn, :, own], live[turn])
                c0 = start[1][index] if call.kind == "lstm" else np.zeros((x.shape[1], 0))
                visited = VisitedLayer.at(_weights(call, index), x[turn], h, c0, live[turn])
                _check(call, visited, layer)
                ends = [_end(part, index, size) for part, size in zip(_pair(last), (h[0], c0), strict=True)]
                into = Graded(above.values[turn, :, own], above.exponents[turn])
                adjoint = carry_back(visited, into, *ends)
                here.append(LayerOfCall(layer, "backward" if d else "forward", visited, x[turn], adjoint))
            found[:0] = here
            above = _in_time(here[0].adjoint.x, 1)
            if D == 2:
                above = above + _in_time(here[1].adjoint.x, -1)
            if layer and masks[layer] is not None:
                above = Graded(above.values * call.padded(masks[layer]), above.exponents)
    return found


def _in_time(found: Graded, turn: int) -> Graded:
    return Graded(found.values[::turn], found.exponents[::turn])


def _pair(last: list[Any]) -> tuple[Any, Any]:
    return (last[0], last[1]) if len(last) > 1 else (last[0], None)


def _end(gradient: Any, index: int, like: Array) -> Array:
    if gradient is None:
        return np.zeros_like(like)
    return np.asarray(gradient[index].detach().cpu().double().numpy())


def _with_start(h0: Array, states: Array, live: Array) -> Array:
    """h_0 … h_T, copied where a sequence is not there."""
    h = np.concatenate([h0[None], states])
    for t in range(len(states)):
        h[t + 1] = np.where(live[t][:, None], h[t + 1], h[t])
    return h


def _check(call: FusedCall, visited: VisitedLayer, layer: int) -> None:
    tolerance = STEP_TOLERANCE[min(call.out.element_size(), call.x.element_size())]
    error = visited.step_error()
    if not error <= tolerance:
        raise UntrustedNumbersError(
            f"layer {layer}: a step of the weights lies {error:.1e} from what the module computed (at most "
            f"{tolerance:.0e} is rounding): its dropout masks cannot be drawn again here, or it is not what its class "
            "says"
        )


def _weights(call: FusedCall, index: int) -> LayerWeights:
    tensors = [p.detach().cpu().double().numpy() for p in call.module.all_weights[index]]
    W_ih, W_hh, *rest = tensors
    zeros = np.zeros(len(W_ih))
    b_ih, b_hh = rest[:2] if call.module.bias else (zeros, zeros)
    return LayerWeights(call.kind, W_ih, W_hh, b_ih, b_hh, rest[-1] if call.module.proj_size else None)


def _layer_by_layer(call: FusedCall) -> tuple[list[Any], list[Any], list[Any]]:
    """What each layer read, the dropout mask that this came through (None: none), and what each layer gave."""
    torch = import_torch()
    module, D = call.module, call.directions
    heard, masks, left = [call.x], [None], []
    rate = float(module.dropout) if module.training else 0.0
    start = call.start()
    with _random_streams_at(call.random_states):
        for layer in range(module.num_layers - 1):
            here = slice(layer * D, (layer + 1) * D)
            parts = [part[here].contiguous() for part in start]
            left.append(_one_layer(call, heard[-1], parts, [p for ps in module.all_weights[here] for p in ps]))
            mask = torch.nn.functional.dropout(torch.ones_like(left[-1]), rate, training=True) if rate else None
            masks.append(mask)
            heard.append(left[-1] if mask is None else left[-1] * mask)
    return heard, masks, [*left, call.out]


def _one_layer(call: FusedCall, x: Any, start: list[Any], weights: list[Any]) -> Any:
    """The module's own kernel for one layer."""
    torch = import_torch()
    module = call.module
    run = {"rnn": torch.rnn_tanh, "relu": torch.rnn_relu, "lstm": torch.lstm, "gru": torch.gru}[call.kind]
    state: Any = tuple(start) if call.kind == "lstm" else start[0]
    flags = (bool(module.bias), 1, 0.0, bool(module.training), bool(module.bidirectional))
    if call.batch_sizes is not None:
        return run(x, call.batch_sizes, state, weights, *flags)[0]
    return run(x, state, weights, *flags, False)[0]


def random_states_of(x: Any) -> dict[str, Any]:
    """The random streams that a kernel on this tensor's device draws from, as they stand."""
    torch = import_torch()
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        x = x.data
    states = {"cpu": torch.get_rng_state()}
    if x.device.type == "cuda":
        states[str(x.device)] = torch.cuda.get_rng_state(x.device)
    return states


@contextmanager
def _random_streams_at(states: dict[str, Any]) -> Iterator[None]:
    torch = import_torch()
    devices = [name for name in states if name != "cpu"]
    with torch.random.fork_rng(devices=[torch.device(name) for name in devices], enabled=bool(states)):
        if states:
            torch.set_rng_state(states["cpu"])
            for name in devices:
                torch.cuda.set_rng_state(states[name], torch.device(name))
        yield
