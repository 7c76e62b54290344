"""What computed a report: versions and threads, no host, user or path."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_environment(threads: int | None = None) -> dict[str, Any]:
    """The ``environment`` object of a report; scipy's version is read without importing scipy."""
    blas = np.__config__.CONFIG.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": _version("scipy"),
        "blas": " ".join(str(blas.get(key, "")) for key in ("name", "version")).strip() or None,
        "threads": threads,
    }
