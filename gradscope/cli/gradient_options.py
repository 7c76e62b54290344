"""The options of ``gradients`` that other verbs share: what is differentiated, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gradscope.cli.options import apply_options

F = TypeVar("F", bound=Callable[..., Any])

#: What ``gradients`` asks on top of every measuring verb, by its name in the request.
OWN_OPTIONS = (
    "anchor",
    "epsilon",
    "wrt",
    "per_layer",
    "loss",
    "loss_at",
    "readout",
    "target",
    "truncation_bias",
    "need",
    "lengths",
    "factors",
)


def gradient_options(command: F) -> F:
    """What ``gradients`` asks on top of every measuring verb."""
    return apply_options(
        [
            click.option(
                "--anchor",
                type=click.Choice(["end", "start"]),
                default="end",
                show_default=True,
                help="end: lags run back from T; start: forward from 0.",
            ),
            click.option("--lags", metavar="LIST", help="Rows kept, e.g. 0:50:5 or 1,5,10 (default: all)."),
            click.option(
                "--epsilon", type=float, default=1e-3, show_default=True, help="Norm below which a gradient is gone."
            ),
            click.option(
                "--wrt",
                type=click.Choice(["state", "inputs", "weights"]),
                default="state",
                show_default=True,
                help="Derivatives with respect to past states, to the inputs x_j, or of every h_t to the weights.",
            ),
            click.option("--per-layer", is_flag=True, help="One result per layer of a stack as well."),
            click.option(
                "--loss",
                type=click.Choice(["cross-entropy", "mse", "linear", "none"]),
                default="cross-entropy",
                show_default=True,
                help="What is differentiated in the loss columns.",
            ),
            click.option("--loss-at", type=click.Choice(["last", "all"]), default="last", show_default=True),
            click.option(
                "--readout", metavar="FILE|random", help="npz with weight and bias; for linear an npy vector."
            ),
            click.option("--target", metavar="K|FILE", help="Class numbers, or values for mse (default 0)."),
            click.option(
                "--truncation-bias",
                type=float,
                default=0.05,
                show_default=True,
                metavar="SHARE",
                help="Bias of the weight gradient that truncated backpropagation may have.",
            ),
            click.option(
                "--factors", is_flag=True, help="The article's product for dL/dW, factor by factor, beside the truth."
            ),
            click.option(
                "--lengths",
                metavar="LIST|FILE",
                help="Steps of each sequence of a padded batch: lags count from its own end.",
            ),
            click.option("--need", type=int, metavar="LAG", help="How far back the task needs gradients."),
        ],
        command,
    )


def gradient_values(values: dict[str, Any]) -> dict[str, Any]:
    """Pick these fields of a GradientsRequest out of a command's parameters."""
    return {"lags": values["lags"], **{name: values[name] for name in OWN_OPTIONS if name in values}}
