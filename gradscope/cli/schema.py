"""``gradscope schema``: the JSON Schemas that ship with the package."""

from __future__ import annotations

import click

from gradscope.cli.options import examples
from gradscope.errors import UsageError


@click.command("schema", epilog=examples("gradscope schema gradients", "gradscope schema spectrum"))
@click.argument("verb", required=False)
def command(verb: str | None) -> int:
    """Print the JSON Schema of a verb's machine format."""
    from gradscope.reports.schemas import VERBS, schema_text

    if verb is None:
        raise UsageError(f"schema needs one of {', '.join(VERBS)}.")
    click.echo(schema_text(verb), nl=False)
    return 0
