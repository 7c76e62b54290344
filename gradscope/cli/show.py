"""``gradscope show``: stored results again, filtered, re-rendered, re-gated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from gradscope.cli.deliver import Delivery, deliver_stored, words_of
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options
from gradscope.errors import UsageError
from gradscope.records import Report


@click.command(
    "show",
    cls=Verb,
    epilog=examples(
        "gradscope show result.json",
        "gradscope show result.json --where 'lag >= 50' --columns lag,log10_norm,log10_bound -f csv",
        "gradscope gradients rnn --json | gradscope show - --fail-on 'horizon < 5'",
    ),
)
@click.argument("results", nargs=-1, metavar="RESULT...")
@click.option("--where", multiple=True, metavar="COND", help="Keep rows, e.g. 'lag >= 50'. Repeatable.")
@click.option("--sort", metavar="NAMES", help="Columns to sort by, comma-separated; - in front: descending.")
@click.option("--columns", metavar="NAMES", help="Columns to keep, comma-separated.")
@click.option("--pivot", metavar="A,B", help="A sweep's map over two varied keys.")
@click.option("--value", metavar="FIELD", help="What the map shows.")
@report_options
def command(results: tuple[str, ...], **values: Any) -> int:
    """Show stored results again (- is stdin): other formats, rows, columns, gates."""
    if not results:
        raise UsageError("show needs at least one stored RESULT, for example: gradscope show result.json")
    from gradscope.reports.json_report import read_report
    from gradscope.reports.query import pivot, select

    code = 0
    stored = [read_report(name) for name in results]
    for report in _together(stored, values):
        report = select(
            report, where=values["where"], sort=words_of(values["sort"]), columns=words_of(values["columns"])
        )
        if values["pivot"]:
            keys = words_of(values["pivot"])
            if len(keys) != 2:
                raise UsageError(f"--pivot {values['pivot']}: wanted two keys, A,B.")
            report = pivot(report, keys=(keys[0], keys[1]), value=values["value"])
        code = max(code, deliver_stored(report, replace(Delivery.from_options(values), columns=())))
    return code


def _together(stored: list[Report], values: dict[str, Any]) -> list[Report]:
    """Results of one verb as one report; of several verbs one after another, where a terminal can show them.

    Raises
    ------
    UsageError
        Several verbs where the output can hold one report only.
    """
    from gradscope.reports.query import side_by_side

    several = len({report.verb for report in stored}) > 1
    for_people = not values["outputs"] and not values["as_json"] and values["format_name"] == "table"
    return stored if several and for_people else [side_by_side(stored)]
