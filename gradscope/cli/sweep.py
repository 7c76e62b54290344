"""``gradscope sweep``: from one network to a map."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from gradscope.cli.deliver import Delivery, command_line, deliver
from gradscope.cli.gradient_options import OWN_OPTIONS, gradient_options
from gradscope.cli.group import Verb
from gradscope.cli.options import (
    EXPONENT_OPTIONS,
    examples,
    exponent_options,
    refuse_empty,
    report_options,
    request_options,
    run_options,
)
from gradscope.cli.progress import Progress
from gradscope.errors import UntrustedNumbersError, UsageError
from gradscope.records import Report
from gradscope.text import message

MEASURED = ("gradients", "spectrum", "lyapunov")


@click.command(
    "sweep",
    cls=Verb,
    epilog=examples(
        "gradscope sweep rnn:hidden=32 --vary gain=0.5:1.5:0.1 --vary seed=1:5",
        "gradscope sweep rnn --vary gain=0.5:2:0.05 --vary init=gaussian,orthogonal -T 500 --store map.jsonl",
        "gradscope sweep lstm --vary forget_bias=0:4:0.5 --vary hidden=log:16:128:4 --dry-run",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE")
@run_options
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=VALUES",
    help="A list (tanh,relu), a range (0.5:1.5:0.1) or log:FIRST:LAST:COUNT. Repeatable: a grid.",
)
@click.option("--zip", "zipped", is_flag=True, help="Pair the values of several --vary instead of crossing them.")
@click.option(
    "--measure",
    type=click.Choice(MEASURED),
    default="gradients",
    show_default=True,
    help="Whose summary becomes a row.",
)
@gradient_options
@exponent_options
@click.option("--store", metavar="FILE.jsonl", help="Keep every row as it finishes; the same command continues there.")
@click.option("-j", "--jobs", type=int, metavar="N", help="Processes (default: the machine's cores).")
@click.option("--dask", metavar="ADDRESS", help="Use the workers of this Dask scheduler.")
@click.option("--dry-run", is_flag=True, help="Say how many points, how long and how much memory, and stop.")
@click.option("--fresh", is_flag=True, help="Forget what the store holds.")
@click.option("--extend", is_flag=True, help="Add new values of the same keys to a store.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first point that fails (default: a row with its error).")
@click.option("--value", metavar="FIELD", help="Field of the heat map (default: max, log10_rate or horizon).")
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """A grid of points, in parallel, resumable, on one machine or a cluster.

    Any key of the source varies, and seed, T, inputs, batch, epsilon. A row per point: the varied keys, then the
    summary fields of the measure. With two varied keys beside the seed, a heat map follows the table.
    """
    refuse_empty(sources, "sweep")
    if values["fresh"] and values["extend"]:
        raise UsageError("--fresh forgets the store and --extend adds to it: choose one.")
    if values["store"] is None and (values["fresh"] or values["extend"]):
        raise UsageError("--fresh and --extend speak of a store: add --store FILE.jsonl.")
    if values["dask"] is not None and values["jobs"] is not None:
        raise UsageError("--dask brings its own workers: drop -j/--jobs.")
    plan_options = {**request_options(values)}
    plan_options |= _measures_own(values)
    if values["dry_run"]:
        return _dry_run(sources, values, plan_options)
    arguments = command_line()
    delivery = Delivery.from_options(values)
    varied = [text.partition("=")[0].strip() for text in values["vary"]]
    if delivery.format_name == "table" and len([key for key in varied if key != "seed"]) in (1, 2):
        delivery = replace(delivery, plot=True)

    def make(progress: Progress) -> Report:
        from gradscope.api import sweep

        own = ("vary", "zipped", "measure", "store", "jobs", "dask", "fresh", "extend", "fail_fast", "value")
        options = {name: values[name] for name in own}
        return sweep(*sources, **options, command=arguments, progress=progress, **plan_options)

    code, report = deliver("sweep", delivery, make)
    return _judge_points(report, code, quiet=delivery.quiet)


#: A row is the summary of a whole run: these choose rows and results of one.
_NOT_OF_A_SWEEP = ("lags", "per_layer", "factors")
command.params = [parameter for parameter in command.params if parameter.name not in _NOT_OF_A_SWEEP]


def _measures_own(values: dict[str, Any]) -> dict[str, Any]:
    """The options of the measured verb that were given; a default is the measure's own business.

    Raises
    ------
    UsageError
        An option on the command line that what is measured does not have.
    """
    from dataclasses import fields

    from gradscope.sweeps.point import request_class

    context = click.get_current_context()
    own = {*OWN_OPTIONS, *EXPONENT_OPTIONS}
    known = {field.name for field in fields(request_class(values["measure"]))}
    given = {}
    for parameter in context.command.params:
        name = str(parameter.name)
        where = context.get_parameter_source(name)
        if name not in own or where is ParameterSource.DEFAULT:
            continue
        if name in known:
            given[name] = values[name]
        elif where is ParameterSource.COMMANDLINE:
            raise UsageError(f"{max(parameter.opts, key=len)} has no meaning for --measure {values['measure']}.")
    return given


def _judge_points(report: Report, code: int, *, quiet: bool) -> int:
    """Failed points are rows, and said on stderr; a sweep of nothing else gave no numbers (exit 3)."""
    points, failed = (sum(result.summary[name] for result in report.results) for name in ("points", "failed"))
    if not failed:
        return code
    first = next(error for result in report.results for error in result.rows["error"] if error is not None)
    if failed == points:
        raise UntrustedNumbersError(f"every one of the {points} points failed; the first: {first}")
    if not quiet:
        print(message(f"warning: {failed} of {points} points failed; the first: {first}"), file=sys.stderr)
    return code


def _dry_run(sources: tuple[str, ...], values: dict[str, Any], plan_options: dict[str, Any]) -> int:
    from gradscope.sweeps.estimate import estimate
    from gradscope.sweeps.plan import make_plan

    plan = make_plan(sources, values["vary"], measure=values["measure"], zipped=values["zipped"], **plan_options)
    for line in estimate(plan, values["jobs"]).lines():
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    return 0
