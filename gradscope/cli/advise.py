"""``gradscope advise``: what to change, each change measured."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import measure
from gradscope.cli.gradient_options import gradient_options, gradient_values
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options, request_options, run_options


@click.command(
    "advise",
    cls=Verb,
    epilog=examples(
        "gradscope advise lstm --reach 50",
        "gradscope advise model.pt --inputs features.npy --clip-batch 4",
        "gradscope advise gru --only forget_bias --fail-on 'reach_now < 20'",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@run_options
@gradient_options
@click.option("--reach", type=int, metavar="N", help="Lag at which the norm should still be >= epsilon (default: T).")
@click.option(
    "--clip-percentile",
    type=float,
    default=95.0,
    show_default=True,
    metavar="P",
    help="Of the gradient's norm: where to clip.",
)
@click.option(
    "--clip-batch",
    type=int,
    default=1,
    show_default=True,
    metavar="M",
    help="Sequences whose mean gradient is clipped; drawn from those of --batch.",
)
@click.option("--only", multiple=True, metavar="KIND", help="Look into this kind of change only. Repeatable.")
@click.option("-j", "--jobs", type=int, metavar="N", help="Processes (default: the cores there are).")
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """What to change, and what each change does, measured on the changed network.

    Where to truncate, what to clip at, and the smallest forget bias, gain, leak, start or norm that
    lets gradients reach the lag asked for. A change is text to append to the source.
    """
    from gradscope.analysis.threads import cores

    own = {name: values[name] for name in ("threads", "reach", "clip_percentile", "clip_batch", "only")}
    own["jobs"] = cores() if values["jobs"] is None else values["jobs"]
    return measure("advise", sources, values, **own, **gradient_values(values), **request_options(values))[0]
