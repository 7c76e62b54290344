"""The options that verbs share: one name, one meaning, one definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gradscope.errors import UsageError
from gradscope.reports.formats import STDOUT_FORMATS

F = TypeVar("F", bound=Callable[..., Any])


# click 8.3.0 to 8.3.3 cannot be subscripted when run.
if TYPE_CHECKING:
    _IntType = click.ParamType[int]
else:
    _IntType = click.ParamType


class MemorySize(_IntType):
    """``500M``, ``2G``, ``1073741824``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        from gradscope.ranges import size_in_bytes

        try:
            return size_in_bytes(str(value))
        except UsageError as problem:
            self.fail(str(problem), param, ctx)


def apply_options(options: list[Callable[[F], F]], command: F) -> F:
    """Decorate a command with options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def run_options(command: F) -> F:
    """Options of every measuring verb that say what is run."""
    return apply_options(
        [
            click.option("-T", "--steps", type=int, default=100, show_default=True, help="Steps of the sequence."),
            click.option(
                "--inputs",
                default="normal",
                show_default=True,
                metavar="KIND|FILE",
                help="normal, uniform, zeros, or a file: (T, inputs) or (batch, T, inputs).",
            ),
            click.option("--tokens", metavar="LIST|FILE", help="Tokens, looked up in the file's embedding: 3,17,4."),
            click.option(
                "--time-major/--batch-major",
                "time_major",
                default=None,
                help="Order of an inputs file: (T, batch, inputs), or (batch, T, inputs) (default; asked if unlikely).",
            ),
            click.option("--batch", type=int, default=1, show_default=True, help="Sequences side by side."),
            click.option("--seed", type=int, default=0, show_default=True, help="Of weights, readout and inputs."),
            click.option(
                "--dtype",
                type=click.Choice(["float64", "float32"]),
                default="float64",
                show_default=True,
                help="Of the trajectory; Jacobians are always multiplied in float64.",
            ),
            click.option(
                "--state", metavar="FILE.npy", help="Initial state: h, or [h; c]; normal is seeded (default: zeros)."
            ),
            click.option(
                "--transient", type=int, default=0, show_default=True, help="Steps run before measuring.", metavar="N"
            ),
            click.option(
                "--columns", metavar="NAMES", help="Columns on stdout, by field name or title, comma-separated."
            ),
            click.option("--threads", type=int, help="BLAS threads (default: one for small matrices)."),
            click.option(
                "--memory",
                type=MemorySize(),
                default="1G",
                show_default=True,
                metavar="SIZE",
                help="What the tape may take before it is recomputed; inputs, results and libraries come on top.",
            ),
            click.option(
                "--baseline",
                metavar="FILE",
                help="Compare with this stored result, as diff does.",
            ),
        ],
        command,
    )


def jobs_option(command: F) -> F:
    """How many results are measured side by side; the numbers are the same."""
    return click.option(
        "-j", "--jobs", type=int, metavar="N", help="Results measured side by side (default: the cores, if it pays)."
    )(command)


#: What ``exponent_options`` adds, by its name in the request.
EXPONENT_OPTIONS = ("k", "closed_loop", "covariant")


def exponent_options(command: F) -> F:
    """What ``lyapunov`` asks, and a sweep that measures it."""
    return apply_options(
        [
            click.option("-k", "k", type=int, metavar="N", help="Leading exponents (default: all)."),
            click.option("--closed-loop", is_flag=True, help="The readout's output is the next input."),
            click.option("--covariant", is_flag=True, help="Covariant Lyapunov vectors and the angles between them."),
        ],
        command,
    )


def report_options(command: F) -> F:
    """Options of every verb that say what becomes of the result."""
    return apply_options(
        [
            click.option(
                "-f",
                "--format",
                "format_name",
                type=click.Choice(STDOUT_FORMATS),
                default="table",
                show_default=True,
                help="What is written to stdout.",
            ),
            click.option("--json", "as_json", is_flag=True, help="The same as -f json."),
            click.option(
                "-o",
                "--output",
                "outputs",
                multiple=True,
                metavar="FILE",
                help="Also write a file; its suffix picks the format. Repeatable.",
            ),
            click.option(
                "--expect", multiple=True, metavar="EXPR", help="Exit 1 unless true, e.g. 'horizon >= 50'. Repeatable."
            ),
            click.option(
                "--fail-on", multiple=True, metavar="EXPR", help="Exit 1 when true, e.g. 'horizon < 50'. Repeatable."
            ),
            click.option("--warn-on", multiple=True, metavar="EXPR", help="Warn when true. Repeatable."),
            click.option("--plot", is_flag=True, help="Draw in the terminal as well."),
            click.option(
                "--figure",
                "figures",
                multiple=True,
                metavar="NAME",
                help="Draw this figure, in --plot, .svg, .png, .pdf (default: the main ones). Repeatable.",
            ),
            click.option("--config", metavar="FILE", help="Read options from this file, not from pyproject.toml."),
            click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr."),
            click.option("-v", "--verbose", count=True, help="More detail; -vv adds tracebacks."),
            click.option("--progress", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True),
            click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
        ],
        command,
    )


def examples(*lines: str) -> str:
    """An epilog of runnable examples."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def request_options(values: dict[str, Any]) -> dict[str, Any]:
    """Pick the fields of a RunRequest out of a command's parameters."""
    names = ("steps", "inputs", "time_major", "tokens", "batch", "seed", "dtype", "state", "transient", "memory")
    return {name: values[name] for name in names}


def refuse_empty(sources: tuple[str, ...], verb: str) -> None:
    """Ask for a source where none was given."""
    if not sources:
        raise UsageError(
            f"{verb} needs at least one SOURCE, for example: gradscope {verb} rnn\nTry: gradscope {verb} --help"
        )
