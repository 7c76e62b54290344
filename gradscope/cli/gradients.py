"""``gradscope gradients``: the main job."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import Delivery, command_line, deliver
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, refuse_empty, report_options, request_options, run_options
from gradscope.cli.progress import Progress
from gradscope.records import Report

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
)


@click.command(
    "gradients",
    cls=Verb,
    epilog=examples(
        "gradscope gradients rnn skip forget-gate input-gate lstm",
        "gradscope gradients rnn:gain=1.5,hidden=128 -T 300 --lags 0:300:10",
        "gradscope gradients lstm:forget_bias=1 --fail-on 'horizon < 20' -o report.json",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@run_options
@click.option(
    "--anchor",
    type=click.Choice(["end", "start"]),
    default="end",
    show_default=True,
    help="end: lags run back from T; start: forward from 0.",
)
@click.option("--lags", metavar="LIST", help="Rows kept, e.g. 0:50:5 or 1,5,10 (default: all).")
@click.option("--epsilon", type=float, default=1e-3, show_default=True, help="Norm below which a gradient is gone.")
@click.option(
    "--wrt",
    type=click.Choice(["state", "inputs"]),
    default="state",
    show_default=True,
    help="Derivatives with respect to past states, or to the inputs x_j.",
)
@click.option("--per-layer", is_flag=True, help="One result per layer of a stack as well.")
@click.option(
    "--loss",
    type=click.Choice(["cross-entropy", "mse", "linear", "none"]),
    default="cross-entropy",
    show_default=True,
    help="What is differentiated in the loss columns.",
)
@click.option("--loss-at", type=click.Choice(["last", "all"]), default="last", show_default=True)
@click.option("--readout", metavar="FILE|random", help="npz with weight and bias; for linear an npy vector.")
@click.option("--target", metavar="K|FILE", help="Class numbers, or values for mse (default 0).")
@click.option(
    "--truncation-bias",
    type=float,
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Bias of the weight gradient that truncated backpropagation may have.",
)
@click.option("--need", type=int, metavar="LAG", help="How far back the task needs gradients.")
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Per lag: theory and bounds beside the measured gradient.

    For every lag k the norm of ds_T/ds_{T-k}, beside the article's (tanh')^k W^k (an estimate), the
    eigenvalue rate, a bound that holds for every input, and the bound along this trajectory. Several
    sources give a side-by-side summary.
    """
    refuse_empty(sources, "gradients")
    arguments = command_line() or ("gradients", *sources)

    def make(progress: Progress) -> Report:
        from gradscope.api import gradients
        from gradscope.ranges import whole_numbers

        return gradients(
            *sources,
            threads=values["threads"],
            command=arguments,
            progress=progress,
            lags=None if values["lags"] is None else whole_numbers(values["lags"]),
            lags_text=values["lags"],
            figures=wants_figures(values),
            **{name: values[name] for name in OWN_OPTIONS},
            **request_options(values),
        )

    return deliver("gradients", Delivery.from_options(values), make)


def wants_figures(values: dict[str, Any]) -> bool:
    """Whether a page or a picture will be written: then what only figures show is worth computing."""
    suffixes = (".html", ".svg", ".png", ".pdf")
    return values["format_name"] == "html" or any(name.lower().endswith(suffixes) for name in values["outputs"])
