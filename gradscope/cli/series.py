"""``gradscope series``: checkpoints of one training run."""

from __future__ import annotations

import sys
from typing import Any

import click

from gradscope.cli.deliver import measure
from gradscope.cli.gradient_options import gradient_options, gradient_values
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options, request_options, run_options
from gradscope.records import Report
from gradscope.text import message


@click.command(
    "series",
    cls=Verb,
    epilog=examples(
        "gradscope series run/step-*.safetensors --inputs features.npy -o run.html",
        "gradscope series 'run/step-*.safetensors:param=rnn' --expect 'horizon_last >= 20'",
        "gradscope series run/*.safetensors --step 'step-(\\d+)' --store store.jsonl",
    ),
)
@click.argument("sources", nargs=-1, metavar="FILE...")
@run_options
@gradient_options
@click.option(
    "--step", metavar="PATTERN", help="Regular expression with one group: the step in a name (default: last number)."
)
@click.option("--store", metavar="FILE.jsonl", help="Keep every row as it finishes; the same command continues there.")
@click.option("--fresh", is_flag=True, help="Forget what the store holds.")
@click.option("-j", "--jobs", type=int, metavar="N", help="Processes (default: the machine's cores).")
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Checkpoints of one training run as a map over training time.

    A row per checkpoint (and per layer and direction of a bidirectional network), in training order: the step, then
    what gradients sums up, the spectral radius and the mean gates. A checkpoint that cannot be read is a row with its
    error; the others are measured all the same, and the exit code is 3.
    """
    own = {name: values[name] for name in ("step", "store", "fresh", "jobs")}
    code, report = measure("series", sources, values, **own, **gradient_values(values), **request_options(values))
    return _judge_checkpoints(report, code)


# A row sums up a whole checkpoint: the factors of one gradient have no place in it.
command.params = [parameter for parameter in command.params if parameter.name != "factors"]


def _judge_checkpoints(report: Report, code: int) -> int:
    """A checkpoint that could not be measured is named on stderr, whatever the gates say."""
    broken = {
        row["file"]: row["error"] for result in report.results for row in result.rows() if row["error"] is not None
    }
    if not broken:
        return code
    first, why = next(iter(broken.items()))
    total = report.results[0].n_rows
    said = f"error: {len(broken)} of {total} checkpoints could not be measured; the first, {first}: {why}"
    print(message(said), file=sys.stderr)
    return 3
