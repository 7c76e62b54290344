"""``gradscope gradients``: the main job."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import measure
from gradscope.cli.gradient_options import gradient_options, gradient_values
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, jobs_option, report_options, request_options, run_options


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
@gradient_options
@jobs_option
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Per lag: theory and bounds beside the measured gradient.

    For every lag k the norm of ds_T/ds_{T-k}, beside the article's (tanh')^k W^k (an estimate), the
    eigenvalue rate, a bound that holds for every input, and the bound along this trajectory. Several
    sources give a side-by-side summary.
    """
    options = {"figures": wants_figures(values), **gradient_values(values), **request_options(values)}
    return measure("gradients", sources, values, jobs=values["jobs"], threads=values["threads"], **options)[0]


def wants_figures(values: dict[str, Any]) -> bool:
    """Whether a page or a picture will be written: then what only figures show is worth computing."""
    suffixes = (".html", ".svg", ".png", ".pdf")
    if values["figures"]:
        return True
    return values["format_name"] == "html" or any(name.lower().endswith(suffixes) for name in values["outputs"])
