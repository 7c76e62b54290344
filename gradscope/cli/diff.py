"""``gradscope diff``: what changed between two results, stored or measured here."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from gradscope.cli.deliver import Delivery, command_line, deliver, deliver_stored
from gradscope.cli.gradient_options import OWN_OPTIONS, gradient_options, gradient_values
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, report_options, request_options, run_options
from gradscope.cli.progress import Progress
from gradscope.errors import UsageError
from gradscope.records import Report


@click.command(
    "diff",
    cls=Verb,
    epilog=examples(
        "gradscope diff base.json new.json",
        "gradscope diff base.json new.json --fail-on 'verdict == worse' -f md",
        "gradscope diff run/step-000.safetensors run/step-200.safetensors --inputs features.npy",
    ),
)
@click.argument("base", metavar="BASE")
@click.argument("new", metavar="NEW")
@run_options
@gradient_options
@report_options
def command(base: str, new: str, **values: Any) -> int:
    """Compare two results: what is worse, what is better, what is only noise.

    Each is a stored result (.json, .jsonl, - for standard input), or a source, which gradients measures here
    with the options given: checkpoints a.pt and b.pt are measured alike and compared.
    """
    from gradscope.stored import diff, is_stored

    arguments = command_line()
    if is_stored(base) and is_stored(new):
        _refuse_options()
        return deliver_stored(diff(base, new, command=arguments), Delivery.from_options(values))

    def make(progress: Progress) -> Report:
        options = {**gradient_values(values), **request_options(values)}
        return diff(
            base, new, command=arguments, options={**options, "threads": values["threads"], "progress": progress}
        )

    return deliver("diff", Delivery.from_options(values), make)[0]


# What is compared is on the line already.
command.params = [parameter for parameter in command.params if parameter.name not in ("baseline", "factors")]


def _refuse_options() -> None:
    """Two stored results are compared as they are: an option of a measurement would change nothing."""
    context = click.get_current_context()
    measuring = {"steps", "inputs", "tokens", "batch", "seed", "dtype", "state", "transient", *OWN_OPTIONS, "lags"}
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if given and parameter.name in measuring:
            raise UsageError(
                f"diff: {parameter.opts[-1]} is for sources that are measured here, but both are stored results."
            )
