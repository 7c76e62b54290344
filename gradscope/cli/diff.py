"""``gradscope diff``: what changed between two stored results."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import Delivery, command_line, deliver_stored
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options


@click.command(
    "diff",
    cls=Verb,
    epilog=examples(
        "gradscope diff base.json new.json",
        "gradscope diff base.json new.json --fail-on 'verdict == worse' -f md",
    ),
)
@click.argument("base", metavar="BASE")
@click.argument("new", metavar="NEW")
@report_options
def command(base: str, new: str, **values: Any) -> int:
    """Compare two stored results: what is worse, what is better, what is only noise."""
    from gradscope.reports.diff import diff
    from gradscope.reports.json_report import read_report

    report = diff(read_report(base), read_report(new), command=command_line() or ("diff", base, new))
    return deliver_stored(report, Delivery.from_options(values))
