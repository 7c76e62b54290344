"""One view per verb: what a report of that verb has to say, as a document of blocks."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from gradscope.records import Report
from gradscope.reports.document import Document

VIEWS = ("gradients", "spectrum", "lyapunov", "inspect", "claims", "sweep", "diff", "advise", "series")

#: Names of the figures that each verb draws, the main one first.
FIGURES = {
    "gradients": ("gradient", "rank", "heat", "gates", "bottleneck", "loss-map", "time-constants"),
    "spectrum": ("eigenvalues",),
    "lyapunov": ("exponents", "convergence"),
    "claims": (
        "order-chaos",
        "dilution",
        "transient",
        "forget-bias",
        "eigenvalues",
        "middle",
        "truncation",
        "sensitivity",
        "parallel",
    ),
    "sweep": ("map", "curve"),
    "advise": ("changes",),
    "series": ("horizon", "map", "radius", "gates"),
}


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Say what ``report`` has to say.

    ``verbose`` adds every source's details where several stand side by side; ``figures=False`` spares a text format
    the work of preparing curves from a million rows.
    """
    picked = any(result.settings.get(key) for result in report.results for key in ("columns", "sort"))
    name = report.verb if report.verb in VIEWS and not picked else "rows"
    make: Callable[..., Document] = import_module(f"gradscope.reports.views.{name}_view").view
    return make(report, verbose=verbose, figures=figures)
