"""``gradscope lyapunov``: exponents with error bars."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import measure
from gradscope.cli.group import Verb
from gradscope.cli.options import (
    examples,
    exponent_options,
    jobs_option,
    report_options,
    request_options,
    run_options,
)


@click.command(
    "lyapunov",
    cls=Verb,
    epilog=examples(
        "gradscope lyapunov rnn:gain=1.5 --inputs zeros --state normal -T 2000 --transient 200",
        "gradscope lyapunov lstm:hidden=16 -k 3 -T 1000",
        "gradscope lyapunov rnn:hidden=16 --singular-values -T 1000",
        "gradscope lyapunov rnn:hidden=8 --closed-loop --covariant -T 500",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@run_options
@exponent_options
@jobs_option
@click.option(
    "--readout",
    metavar="FILE.npz",
    help="weight (inputs, H) and bias of the closed loop (default: the file's, or seeded).",
)
@click.option(
    "--singular-values", is_flag=True, help="All singular values of the whole product J_T ... J_1, however far apart."
)
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Lyapunov exponents, in nats per step, with 95 % intervals and a verdict on convergence."""
    own = ("jobs", "threads", "k", "closed_loop", "readout", "covariant", "singular_values")
    options = {name: values[name] for name in own}
    return measure("lyapunov", sources, values, **options, **request_options(values))[0]
