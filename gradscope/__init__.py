"""Gradient dynamics in recurrent networks: the gradient at every distance in time, beside its bound."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradscope._version import __version__

if TYPE_CHECKING:
    from gradscope.api import (
        advise,
        build,
        check,
        claims,
        diff,
        gradients,
        inspect,
        load,
        lyapunov,
        show,
        spectrum,
        sweep,
    )
    from gradscope.errors import GradscopeError
    from gradscope.records import Report, Result, Rows
    from gradscope.training.checkpoint_series import series

__all__ = [
    "GradscopeError",
    "Report",
    "Result",
    "Rows",
    "__version__",
    "advise",
    "build",
    "check",
    "claims",
    "diff",
    "gradients",
    "inspect",
    "load",
    "lyapunov",
    "series",
    "show",
    "spectrum",
    "sweep",
]

#: Public names that live elsewhere than in gradscope.api.
_ELSEWHERE = {
    "GradscopeError": "gradscope.errors",
    "Report": "gradscope.records",
    "Result": "gradscope.records",
    "Rows": "gradscope.records",
    "series": "gradscope.training.checkpoint_series",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import gradscope` costs nothing."""
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "gradscope.api")), name)
    raise AttributeError(f"module 'gradscope' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
