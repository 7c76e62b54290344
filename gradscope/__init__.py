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

#: Public names and where they live; imported on first use, so that `import gradscope` costs nothing.
_HOMES = {
    "GradscopeError": "gradscope.errors",
    "Report": "gradscope.records",
    "Result": "gradscope.records",
    "Rows": "gradscope.records",
    "advise": "gradscope.api",
    "build": "gradscope.api",
    "check": "gradscope.api",
    "claims": "gradscope.api",
    "diff": "gradscope.api",
    "gradients": "gradscope.api",
    "inspect": "gradscope.api",
    "load": "gradscope.api",
    "lyapunov": "gradscope.api",
    "series": "gradscope.training.checkpoint_series",
    "show": "gradscope.api",
    "spectrum": "gradscope.api",
    "sweep": "gradscope.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gradscope' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
