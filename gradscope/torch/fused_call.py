"""One call of a fused nn.RNN, nn.LSTM or nn.GRU: what it read and gave, taken apart into layers and directions.

The states of lower layers never leave the fused kernel, so they are run again, layer by layer, with the same kernel
and the same dropout masks (the random stream is set back for that and put where it was).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.torch.call_in_layers import CallInLayers
from gradscope.torch.layer_steps import LayerWeights
from gradscope.torch.requirement import import_torch


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
    autocast : dtype or None
        In which autocast let the kernel compute; None without it.
    """

    module: Any
    x: Any
    out: Any
    given: list[Any] | None
    batch_sizes: Any
    order: Array
    random_states: dict[str, Any] = field(default_factory=dict)
    autocast: Any = None

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
        autocast = autocast_dtype(heard.device.type)
        return cls(module, heard.detach().clone(), left.detach().clone(), parts, sizes, order, random_states, autocast)

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
        return _array(flat)

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

    def time_first(self, x: Any) -> Any:
        """(T, batch, n) of what stands as the module's output does."""
        return _time_first(self.module, x)

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


def take_apart(call: FusedCall, output: Any, last: list[Any]) -> CallInLayers:
    """The call as plain arrays of its own, which nobody changes any more.

    Parameters
    ----------
    output : Tensor or None
        ∂L/∂output, shaped as ``call.out``.
    last : list of (Tensor or None)
        ∂L/∂h_n (and ∂L/∂c_n), (L·D, batch, n).
    """
    torch = import_torch()
    with torch.no_grad():
        heard, masks, left = _layer_by_layer(call)
        start = [_array(part) for part in call.start()]
        ends = [None if gradient is None else _array(gradient) for gradient in last]
        return CallInLayers(
            weights=[_weights(call, index) for index in range(call.module.num_layers * call.directions)],
            directions=call.directions,
            live=call.live(),
            heard=[call.padded(x) for x in heard],
            masks=[None if mask is None else call.padded(mask) for mask in masks],
            left=[call.padded(states) for states in left],
            h0=start[0],
            c0=start[1] if call.kind == "lstm" else None,
            output=None if output is None else call.padded(output),
            last_h=ends[0],
            last_c=ends[1] if len(ends) > 1 else None,
            first=int(call.order[0]),
            bytes_of_number=min(call.out.element_size(), call.x.element_size(), 2 if call.autocast else 8),
        )


def _array(tensor: Any) -> Array:
    """A copy in float64."""
    return np.array(tensor.detach().cpu().double().numpy())


def _weights(call: FusedCall, index: int) -> LayerWeights:
    W_ih, W_hh, *rest = (_array(parameter) for parameter in call.module.all_weights[index])
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
    with _random_streams_at(call.random_states), _autocast_of(call):
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


def autocast_dtype(device: str) -> Any:
    """In which autocast computes here and now on a device of this type; None where it is off."""
    torch = import_torch()
    if hasattr(torch, "get_autocast_dtype"):  # torch 2.4 and later
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if device == "cuda" and torch.is_autocast_enabled() else None


def _autocast_of(call: FusedCall) -> Any:
    """Autocast as it was for the call, and not as it is while gradients are computed."""
    torch = import_torch()
    device = call.x.device.type
    if device not in ("cpu", "cuda"):
        return nullcontext()
    return torch.autocast(device, dtype=call.autocast, enabled=call.autocast is not None)


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
