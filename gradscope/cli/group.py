"""The command group: verbs are imported when they are called, and suggested when they are misspelt."""

from __future__ import annotations

from importlib import import_module

import click

from gradscope._version import __version__

#: Verb → (module, one-line help). The help stands here so that ``gradscope --help`` imports no verb.
VERBS: dict[str, tuple[str, str]] = {
    "gradients": ("gradients", "Per lag: theory and bounds beside the measured gradient."),
    "spectrum": ("spectrum", "Eigendecomposition of every recurrent block; how far from normal it is."),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words as typed, for the report's ``command``."""
        ctx.meta["gradscope.arguments"] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"gradscope.cli.{VERBS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a verb; an unknown one is answered with the closest known."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in VERBS:
            from gradscope.errors import did_you_mean

            hint = did_you_mean(name, VERBS)
            known = ", ".join(VERBS)
            raise click.UsageError(f"no verb '{name}'.{hint} Verbs: {known}.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List verbs from the table above."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


EPILOG = """\b
Examples:
  gradscope gradients rnn lstm:forget_bias=1
  gradscope gradients model.safetensors --inputs features.npy -T 200
  gradscope spectrum rnn:init=orthogonal
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="gradscope")
def cli() -> None:
    """Gradient dynamics in recurrent networks.

    The gradient at every distance in time, beside its bound, for the network you actually have.
    A SOURCE is a cell built here (rnn, skip, forget-gate, input-gate, lstm, ...; with keys, as in
    lstm:hidden=128,forget_bias=1) or a file of trained weights or Jacobians.
    """
