"""The command group: verbs are imported when they are called, and suggested when they are misspelt."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import click

from gradscope._version import __version__
from gradscope.cli.interrupts import ended_by

#: Verb → (module, one-line help). The help stands here so that ``gradscope --help`` imports no verb.
VERBS: dict[str, tuple[str, str]] = {
    "gradients": ("gradients", "Per lag: theory and bounds beside the measured gradient."),
    "spectrum": ("spectrum", "Eigendecomposition of every recurrent block; how far from normal it is."),
    "lyapunov": ("lyapunov", "Lyapunov exponents with error bars and a verdict on convergence."),
    "advise": ("advise", "What to change, each change measured on the changed network."),
    "series": ("series", "Checkpoints of one training run as a map over training time."),
    "inspect": ("inspect_file", "What a file holds: modules, cells, gates, conventions; no numerics."),
    "sweep": ("sweep", "A grid of points, in parallel, resumable, on one machine or a cluster."),
    "claims": ("claims", "Every claim of the article measured, with its control and a verdict."),
    "show": ("show", "Stored results again: other formats, rows, columns, gates."),
    "diff": ("diff", "What changed between two results, or two networks."),
    "example": ("example", "A small trained model, with inputs, to try every command on."),
    "schema": ("schema", "The JSON Schema of a verb's machine format."),
}


class Verb(click.Command):
    """A command whose defaults may stand in a configuration file (flag > environment > file > default)."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Find ``--config`` first, since the file decides what the other options default to."""
        if not any(word in ("-h", "--help") for word in args):
            from gradscope.cli.config import load_defaults

            given = next((after for word, after in pairwise(args) if word == "--config"), None)
            given = next((word.partition("=")[2] for word in args if word.startswith("--config=")), given)
            loaders = {verb: partial(load_verb, verb) for verb in VERBS}
            defaults = load_defaults(self, str(self.name), loaders, given)
            if defaults:
                extra["default_map"] = defaults
        # GRADSCOPE_STEPS, the same for every verb, as the options are.
        extra.setdefault("auto_envvar_prefix", "GRADSCOPE")
        return super().make_context(info_name, args, parent, **extra)


def load_verb(name: str) -> click.Command:
    """Import a verb's module and return its command."""
    command = import_module(f"gradscope.cli.{VERBS[name][0]}").command
    assert isinstance(command, click.Command)
    return command


class RunEnded(Exception):
    """A run that ended from outside; click would turn both cases into exit 1, which here means a gate."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words as typed, for the report's ``command``."""
        ctx.meta["gradscope.arguments"] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a closed pipe and an interrupt keep their own exit codes."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise RunEnded(141) from None
        except KeyboardInterrupt:
            raise RunEnded(ended_by()[0]) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        return load_verb(cmd_name)

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
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="gradscope")
def cli() -> None:
    """Gradient dynamics in recurrent networks.

    The gradient at every distance in time, beside its bound, for the network you actually have.
    A SOURCE is a cell built here (rnn, skip, forget-gate, input-gate, lstm, ...; with keys, as in
    lstm:hidden=128,forget_bias=1) or a file of trained weights or Jacobians.
    """
