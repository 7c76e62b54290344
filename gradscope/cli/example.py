"""``gradscope example``: a small trained model with everything that the documents' commands read."""

from __future__ import annotations

import click

from gradscope.cli.options import examples
from gradscope.errors import UsageError
from gradscope.text import printable


@click.command("example", epilog=examples("gradscope example demo"))
@click.argument("folder", metavar="DIR", required=False)
def command(folder: str | None) -> int:
    """Train a small language model and write it to DIR, so that every command of the documents runs there.

    An lstm learns to spell from three of Shakespeare's sonnets, in a few seconds, the same on every machine. DIR then
    holds its weights in several formats, checkpoints of its training, tokens, inputs and a target that it never saw,
    its step Jacobians, and stored results.
    """
    if folder is None:
        raise UsageError("example needs a DIR to write to, for example: gradscope example demo")
    from pathlib import Path

    from gradscope.example.folder import write_example

    trained, told = write_example(Path(folder))
    steps, losses = max(trained.losses), list(trained.losses.values())
    weights = sum(value.size for value in trained.model.values())
    click.echo(
        f"An lstm of {weights} weights, trained for {steps} steps to spell like three of Shakespeare's sonnets:\n"
        f"{losses[0]:.2f} → {losses[-1]:.2f} nats a letter, on letters that it never saw.\n"
    )
    width = max(map(len, told))
    for name, meaning in told.items():
        click.echo(f"  {name:{width}}  {meaning}")
    click.echo(
        f"\nNext: cd {printable(folder)}\n"
        "      gradscope gradients model.safetensors --tokens tokens.npy --target target.npy\n"
        "      gradscope series run/*.safetensors --inputs features.npy"
    )
    return 0
