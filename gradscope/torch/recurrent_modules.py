"""The recurrent modules of a model: which there are, which is meant, and their weights by name."""

from __future__ import annotations

from typing import Any

from gradscope.errors import InputError, UsageError, did_you_mean
from gradscope.torch.requirement import import_torch


def recurrent_modules(model: Any) -> dict[str, Any]:
    """Every nn.RNN, nn.LSTM, nn.GRU and cell of a model by its name; a module that stands twice, once."""
    torch = import_torch()
    kinds = (torch.nn.RNNBase, torch.nn.RNNCellBase)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def title_of(name: str) -> str:
    """A module's name for people; the model itself may be one."""
    return name or "the model itself"


def describe(name: str, module: Any) -> str:
    """A module in a list of candidates."""
    words = f"{type(module).__name__} {module.input_size}→{module.hidden_size}"
    if getattr(module, "num_layers", 1) > 1:
        words += f", {module.num_layers} layers"
    if getattr(module, "bidirectional", False):
        words += ", bidirectional"
    return f"module={name!r} ({words})"


def choose(found: dict[str, Any], module: str | None, *, what: str) -> str:
    """The one that is meant.

    Raises
    ------
    UsageError
        ``module`` names none of them.
    InputError
        There is none, or several and nothing says which: they are listed with the key that picks each.
    """
    listed = ", ".join(describe(name, one) for name, one in list(found.items())[:12])
    if module is not None:
        if module not in found:
            raise UsageError(
                f"module={module!r}: {what} has no such recurrent module.{did_you_mean(module, found)} "
                f"It has {listed or 'none'}"
            )
        return module
    if not found:
        raise InputError(
            f"{what} has no nn.RNN, nn.LSTM, nn.GRU or cell of these; for a recurrence of another kind see "
            "gradscope.torch.measure(step, inputs, state)"
        )
    if len(found) > 1:
        raise InputError(f"{what} has several recurrent modules: {listed}; pick one")
    return next(iter(found))


def weights_of(module: Any, prefix: str) -> dict[str, Any]:
    """Weights by PyTorch's names, as the module computes with them now (parametrisations applied), copied.

    Raises
    ------
    InputError
        The module has tensors beside those of its class (a subclass of another function).
    """
    torch = import_torch()
    of_cell = isinstance(module, torch.nn.RNNCellBase)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] if of_cell else list(module._flat_weights_names)
    start = f"{prefix}." if prefix else ""
    with torch.no_grad():
        held = {name: getattr(module, name, None) for name in names}
    return {f"{start}{name}": value.detach().clone().cpu() for name, value in held.items() if value is not None}


def is_plain(module: Any) -> bool:
    """Whether the module computes what its torch class computes: no ``forward`` of its own."""
    torch = import_torch()
    plain = (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU, torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell)
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in plain)
