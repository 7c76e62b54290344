"""Nested states as one real vector, and back: tensors in tuples, lists and dictionaries, complex ones by two parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from gradscope.errors import ShapeError
from gradscope.torch.requirement import import_torch


def leaves_of(state: Any) -> list[Any]:
    """The tensors of a nested state, in order."""
    if isinstance(state, dict):
        return [leaf for key in state for leaf in leaves_of(state[key])]
    if isinstance(state, tuple | list):
        return [leaf for part in state for leaf in leaves_of(part)]
    return [state]


def rebuilt(template: Any, leaves: Iterator[Any]) -> Any:
    """A state nested like ``template``, of other tensors."""
    if isinstance(template, dict):
        return {key: rebuilt(part, leaves) for key, part in template.items()}
    if isinstance(template, tuple | list):
        parts = [rebuilt(part, leaves) for part in template]
        if hasattr(template, "_fields"):  # a named tuple takes its parts one by one
            return type(template)(*parts)
        return type(template)(parts)
    return next(leaves)


def nesting_of(state: Any) -> Any:
    """The nesting alone, to be compared; a list and a tuple are as good as one another."""
    if isinstance(state, dict):
        return {key: nesting_of(part) for key, part in state.items()}
    if isinstance(state, tuple | list):
        return [nesting_of(part) for part in state]
    return "tensor"


@dataclass(frozen=True)
class StateLayout:
    """How a nested state stands in one vector of n real numbers.

    Attributes
    ----------
    template : nested tensors
        Any state of this nesting.
    shapes : tuple of tuple of int
        Of each leaf, without a batch axis.
    is_complex : tuple of bool
        Such a leaf takes two numbers per entry, real and imaginary part side by side.
    """

    template: Any
    shapes: tuple[tuple[int, ...], ...]
    is_complex: tuple[bool, ...]

    @classmethod
    def of(cls, state: Any, *, batched: bool) -> StateLayout:
        """Read the layout off a state; ``batched`` says that every leaf begins with a batch axis.

        Raises
        ------
        ShapeError
            Something in it is no tensor of real or complex numbers, or has no batch axis.
        """
        torch = import_torch()
        leaves = leaves_of(state)
        for leaf in leaves:
            if not isinstance(leaf, torch.Tensor) or not (leaf.is_floating_point() or leaf.is_complex()):
                came = str(leaf.dtype) if isinstance(leaf, torch.Tensor) else type(leaf).__name__
                raise ShapeError(
                    f"the state should hold tensors of real or complex numbers, but one part of it is {came}; keep "
                    "counters and flags out of the state (a closure can hold them)"
                )
            if batched and leaf.ndim == 0:
                raise ShapeError("the inputs are (batch, T, I), but one part of the state has no batch axis")
        skip = int(batched)
        shapes = tuple(tuple(leaf.shape[skip:]) for leaf in leaves)
        return cls(state, shapes, tuple(leaf.is_complex() for leaf in leaves))

    @property
    def sizes(self) -> list[int]:
        """Real numbers of each leaf."""
        pairs = zip(self.shapes, self.is_complex, strict=True)
        return [prod(shape) * (2 if is_complex else 1) for shape, is_complex in pairs]

    @property
    def size(self) -> int:
        """n."""
        return sum(self.sizes)

    def pack(self, state: Any, lead: tuple[int, ...] = ()) -> Any:
        """A nested state, each leaf with leading axes ``lead``, as a tensor (*lead, n).

        Raises
        ------
        ShapeError
            It is nested otherwise, or a leaf has another shape: what a step was expected to give, and what it gave.
        """
        torch = import_torch()
        wanted, came = nesting_of(self.template), nesting_of(state)
        if wanted != came:
            raise ShapeError(f"step should return a state nested as {wanted}, but it returned {came}")
        parts = []
        for leaf, shape, is_complex in zip(leaves_of(state), self.shapes, self.is_complex, strict=True):
            if tuple(leaf.shape) != (*lead, *shape):
                raise ShapeError(
                    f"step should return a part of shape {(*lead, *shape)}, as it was given, but it returned "
                    f"{tuple(leaf.shape)}"
                )
            parts.append((torch.view_as_real(leaf) if is_complex else leaf).reshape(*lead, -1))
        return torch.cat(parts, dim=-1)

    def unpack(self, vector: Any) -> Any:
        """A tensor (*lead, n) as a nested state."""
        torch = import_torch()
        lead = vector.shape[:-1]
        leaves = []
        parts = vector.split(self.sizes, dim=-1)
        for part, shape, is_complex in zip(parts, self.shapes, self.is_complex, strict=True):
            if is_complex:
                pairs = part.reshape(*lead, *shape, 2)
                leaves.append(torch.complex(pairs[..., 0], pairs[..., 1]))
            else:
                leaves.append(part.reshape(*lead, *shape))
        return rebuilt(self.template, iter(leaves))
