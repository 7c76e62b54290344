"""``gradscope claims``: what the article says, measured."""

from __future__ import annotations

import sys
from typing import Any

import click

from gradscope.cli.deliver import Delivery, command_line, deliver
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options
from gradscope.cli.progress import Progress
from gradscope.records import Report


@click.command(
    "claims",
    cls=Verb,
    epilog=examples(
        "gradscope claims",
        "gradscope claims --claim C06 --claim C18 -v",
        "gradscope claims --claim C13 -o claims.html -o claims.json",
    ),
)
@click.option("--claim", "names", multiple=True, metavar="ID", help="Measure this one (C01 ... C25). Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random matrix and input.")
@click.option("-j", "--jobs", type=int, metavar="N", help="Processes (default: the cores there are).")
@report_options
def command(names: tuple[str, ...], seed: int, jobs: int | None, **values: Any) -> int:
    """Every claim of the article measured, with its control and a verdict.

    Exit 1 if a measurement comes out against the prediction: this is also the tool's own test.
    """
    arguments = command_line()

    def make(progress: Progress) -> Report:
        from gradscope.api import claims
        from gradscope.article_claims.run_claims import available_jobs

        return claims(
            *names,
            seed=seed,
            jobs=available_jobs() if jobs is None else jobs,
            command=arguments,
            progress=progress,
        )

    code, report = deliver("claims", Delivery.from_options(values), make)
    rows = [row for result in report.results for row in result.rows()]
    against = [str(row["id"]) for row in rows if not row["agrees"]]
    if against:
        print(
            f"{len(against)} of {len(rows)} claims came out against the prediction: {', '.join(against)}.\n"
            f"See the numbers: gradscope claims --claim {against[0]} --seed {seed} -v",
            file=sys.stderr,
        )
    return code or (1 if against else 0)
