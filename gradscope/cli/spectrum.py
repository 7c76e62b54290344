"""``gradscope spectrum``: eigenvalues, and what they cannot say."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import measure
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, jobs_option, report_options, request_options, run_options


@click.command(
    "spectrum",
    cls=Verb,
    epilog=examples(
        "gradscope spectrum rnn lstm",
        "gradscope spectrum rnn:init=orthogonal,hidden=32 --plot",
        "gradscope spectrum rnn:hidden=3 --matrices",
        "gradscope spectrum rnn:gain=0.9 --pseudospectrum 1e-3 --json",
        "gradscope spectrum rnn:hidden=16 --certify",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@run_options
@jobs_option
@click.option(
    "--pseudospectrum",
    type=float,
    metavar="SHARE",
    help="Pseudospectral radius for perturbations of SHARE times the norm, at any size (default: 0.01, up to n = 100).",
)
@click.option(
    "--matrices", is_flag=True, help="Write out P, Lambda, P^-1 and the W they rebuild (blocks of at most 8 units)."
)
@click.option(
    "--certify", is_flag=True, help="Enclose the eigenvalues rigorously with Arb, up to n = 128 (the extra 'certify')."
)
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Eigendecomposition of every recurrent block, W = P Lambda P^-1, and how far from normal it is."""
    own = {name: values[name] for name in ("jobs", "threads", "pseudospectrum", "matrices", "certify")}
    return measure("spectrum", sources, values, **own, **request_options(values))[0]
