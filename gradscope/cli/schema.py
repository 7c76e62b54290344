"""``gradscope schema``: the JSON Schemas that ship with the package."""

from __future__ import annotations

from importlib import resources

import click

from gradscope.cli.options import examples
from gradscope.errors import UsageError, did_you_mean


@click.command("schema", epilog=examples("gradscope schema gradients", "gradscope schema spectrum"))
@click.argument("verb", required=False)
def command(verb: str | None) -> int:
    """Print the JSON Schema of a verb's machine format."""
    folder = resources.files("gradscope.reports.schemas")
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if verb not in known:
        hint = did_you_mean(verb, known) if verb else ""
        raise UsageError(f"schema needs one of {', '.join(known)}.{hint}")
    click.echo(folder.joinpath(f"{verb}.json").read_text(encoding="utf-8"), nl=False)
    return 0
