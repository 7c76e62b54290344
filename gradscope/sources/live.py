"""What a Python caller may give as SOURCE: a string as on the command line, a path, or weights that are in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from gradscope.errors import UsageError
from gradscope.sources.given_arrays import is_array
from gradscope.sources.spec import SourceSpec, parse_source, spec_of_keys

if TYPE_CHECKING:
    from gradscope.sources.held import Held


@runtime_checkable
class HasStateDict(Protocol):
    """Anything that gives its weights by name: an ``nn.Module``."""

    def state_dict(self) -> Any:
        """Names to tensors."""


@runtime_checkable
class IsArray(Protocol):
    """A numpy array, a torch tensor, a JAX array, …."""

    @property
    def shape(self) -> Any:
        """Its extents."""

    @property
    def dtype(self) -> Any:
        """Of its numbers."""


#: A network as the caller holds it.
Weights: TypeAlias = os.PathLike[str] | Mapping[str, Any] | HasStateDict | IsArray
#: Wherever a verb takes a SOURCE: a string as on the command line; a path, a state dict, a model, a matrix; or a pair
#: of one of these and its keys, as in ``(model, "param=encoder,layer=0")``.
SourceLike: TypeAlias = str | Weights | tuple[Weights, str]


def spec_of(source: SourceLike) -> SourceSpec:
    """What a SOURCE names, its keys read.

    Raises
    ------
    UsageError
        Something that is no source, an unknown key, a bad value.
    InputError
        Arrays that cannot be read.
    """
    if isinstance(source, str):
        return parse_source(source)
    weights, keys = source if isinstance(source, tuple) and len(source) == 2 else (source, "")
    if not isinstance(keys, str) or isinstance(weights, str):
        raise UsageError(
            'a pair as source is weights and their keys, as in (model, "param=encoder,layer=0"); '
            'a string has its keys behind a colon, as in "model.pt:param=encoder".'
        )
    name, held = _held(weights)
    return spec_of_keys(f"{name}:{keys}" if keys else name, "file", name, keys, held=held)


def _held(weights: object) -> tuple[str, Held | None]:
    """A name for people, and the weights themselves; None for what is read from a path."""
    if isinstance(weights, os.PathLike):
        return os.fspath(weights), None
    from gradscope.sources.held import held_matrices, held_weights  # with the rules that files are read by

    if isinstance(weights, Mapping):
        return "state_dict", held_weights(weights, name="state_dict")
    if isinstance(weights, HasStateDict) and not isinstance(weights, type):
        return _of_model(weights)
    if is_array(weights):
        return "array", held_matrices(weights)
    raise UsageError(
        f"a source is a string (rnn:hidden=64, model.pt), a path, a mapping of names to arrays, a model with "
        f"state_dict(), or an array; got {type(weights).__name__}."
    )


def _of_model(model: HasStateDict) -> tuple[str, Held]:
    from gradscope.sources.held import held_weights

    name = type(model).__name__
    modules: Any = getattr(model, "named_modules", None)
    found = dict(modules()) if callable(modules) else {}
    state = model.state_dict()
    if not isinstance(state, Mapping):
        raise UsageError(f"{name}.state_dict() gave {type(state).__name__}, wanted a mapping of names to arrays.")
    return name, held_weights(state, name=name, by_torch=True, modules=found)
