"""``gradscope inspect``: what a file holds."""

from __future__ import annotations

from typing import Any

import click

from gradscope.cli.deliver import Delivery, command_line, deliver
from gradscope.cli.group import Verb
from gradscope.cli.options import examples, refuse_empty, report_options
from gradscope.cli.progress import Progress
from gradscope.records import Report


@click.command(
    "inspect",
    cls=Verb,
    epilog=examples(
        "gradscope inspect model.safetensors",
        "gradscope inspect model.pt model.keras --json",
        "gradscope inspect lstm:layers=2",
    ),
)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@report_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """What a file holds: modules, cells, layers, gates, shapes, and where each fact comes from."""
    refuse_empty(sources, "inspect")
    arguments = command_line()

    def make(progress: Progress) -> Report:
        from gradscope.api import inspect

        return inspect(*sources, command=arguments)

    return deliver("inspect", Delivery.from_options(values), make)[0]
