"""torch, imported when something needs it."""

from __future__ import annotations

from typing import Any

from gradscope.errors import MissingExtraError


def import_torch() -> Any:
    """The module ``torch``.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("gradscope.torch needs torch: pip install torch") from None
    return torch
