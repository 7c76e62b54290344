"""Run one command line: every way it can end, turned into one or two lines on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from gradscope.cli.group import VERBS, RunEnded, cli
from gradscope.cli.interrupts import ended_by
from gradscope.errors import GradscopeError, UsageError
from gradscope.text import message, printable

EXIT_USAGE, EXIT_INPUT, EXIT_PIPE = 2, 3, 141


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is one or two lines on stderr."""
    _open_closed_streams()
    if not arguments and "_GRADSCOPE_COMPLETE" not in os.environ:
        _say(f"gradscope: wanted a verb: {', '.join(VERBS)}.\nTry: gradscope gradients rnn lstm, or gradscope --help")
        return EXIT_USAGE
    if "_GRADSCOPE_COMPLETE" in os.environ:
        from gradscope.cli.completion import register

        register()
    try:
        # Verbs return their exit code; --help and --version return 0 through click.
        code = cli.main(args=list(arguments), prog_name="gradscope", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except click.ClickException as problem:
        _say(_usage_message(problem), arguments)
        return EXIT_USAGE
    except UsageError as problem:
        return _refuse(problem, EXIT_USAGE, arguments)
    except GradscopeError as problem:
        return _refuse(problem, EXIT_INPUT, arguments)
    except MemoryError:
        _say(
            "gradscope: out of memory. Use fewer steps or units, or a smaller --memory so that the tape is recomputed."
        )
        return EXIT_INPUT
    except RunEnded as end:
        return _leave_quietly() if end.code == EXIT_PIPE else _interrupted()
    except BrokenPipeError:
        return _leave_quietly()
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except OSError as problem:
        what = f"{problem.filename}: {problem.strerror}" if problem.filename else f"writing failed ({problem.strerror})"
        return _refuse(GradscopeError(what), EXIT_INPUT, arguments)
    except Exception as problem:  # the last door: an unforeseen error is a bug, and still no traceback at a user
        if _was_interrupted(problem):
            return _interrupted()
        kind = type(problem).__name__
        text = f"this is a bug in gradscope ({kind}: {problem}).\nRun again with -vv and report what it prints."
        return _refuse(GradscopeError(text), EXIT_INPUT, arguments)


def _open_closed_streams() -> None:
    """A stream that was closed before the start (``>&-``, some schedulers) is an empty one, not a missing one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (lives as long as the process)


def _was_interrupted(problem: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: Python wraps it when it arrives while a class is being made."""
    while problem is not None:
        if isinstance(problem, KeyboardInterrupt):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _interrupted() -> int:
    code, word = ended_by()
    _say(f"gradscope: {word}")
    return code


def _usage_message(problem: click.ClickException) -> str:
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "gradscope"
    said = printable(problem.format_message())
    return f"{path}: {said}\nTry: {path} --help"


def _refuse(problem: BaseException, code: int, arguments: Sequence[str]) -> int:
    if any(word == "-vv" or word.startswith("-vvv") for word in arguments):
        for line in traceback.format_exc().splitlines():
            print(printable(line), file=sys.stderr)
    _say(f"gradscope: {problem}", arguments)
    return code


def _say(text: str, arguments: Sequence[str] = ()) -> None:
    try:
        print(message(text, tuple(arguments)), file=sys.stderr)
    except BrokenPipeError:
        _leave_quietly()


def _leave_quietly() -> int:
    """The reader of stdout has gone: point stdout at nothing, so that the interpreter's last flush is silent too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return EXIT_PIPE
