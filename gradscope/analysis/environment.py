"""What computed a report: versions and threads, no host, user or path."""

from __future__ import annotations

import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np


def _version(name: str) -> str | None:
    """The version of an installed package, which is not imported.

    >>> _version("numpy") == np.__version__, _version("no_such_package")
    (True, None)
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    # Installers name a directory after it. importlib.metadata, 0.02 s to import, is asked where that is missing.
    beside = list(Path(spec.origin).parents[1].glob(f"{name}-*.dist-info"))
    if len(beside) == 1:
        return beside[0].name.removesuffix(".dist-info").partition("-")[2]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _blas_architecture() -> str | None:
    """The kind of processor whose routines NumPy's BLAS chose: it decides the order of sums, hence last digits.

    Weights are drawn without BLAS and are the same everywhere; trajectories are multiplied by it, and a chaotic one
    does not forgive a last digit.
    """
    from threadpoolctl import threadpool_info

    found = [library.get("architecture") for library in threadpool_info() if library.get("user_api") == "blas"]
    return next((str(name) for name in found if name), None)


def describe_environment(threads: int | None = None) -> dict[str, Any]:
    """The ``environment`` object of a report; scipy's version is read without importing scipy."""
    blas = np.__config__.CONFIG.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": _version("scipy"),
        "blas": " ".join(str(blas.get(key, "")) for key in ("name", "version")).strip() or None,
        "blas_architecture": _blas_architecture(),
        "threads": threads,
    }
