"""What every verb does around its measurement: check gates by name, open files, measure, judge, write, exit."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click

from gradscope.cli.options import refuse_empty
from gradscope.cli.progress import Progress
from gradscope.errors import GradscopeError, InputError, UsageError, did_you_mean
from gradscope.records import GateOutcome, Report
from gradscope.reports.output_files import Outputs
from gradscope.text import message


@dataclass(frozen=True)
class Delivery:
    """The report options of one command line."""

    format_name: str
    outputs: tuple[str, ...]
    expect: tuple[str, ...]
    fail_on: tuple[str, ...]
    warn_on: tuple[str, ...]
    plot: bool
    quiet: bool
    verbose: int
    progress: str
    color: str
    baseline: str | None = None
    columns: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()

    @property
    def expressions(self) -> tuple[str, ...]:
        """All gates, however they were asked for."""
        return (*self.expect, *self.fail_on, *self.warn_on)

    @classmethod
    def from_options(cls, values: dict[str, Any]) -> Delivery:
        """Pick the report options out of a command's parameters."""
        return cls(
            format_name="json" if values["as_json"] else values["format_name"],
            outputs=values["outputs"],
            expect=values["expect"],
            fail_on=values["fail_on"],
            warn_on=values["warn_on"],
            plot=values["plot"] or bool(values["figures"] and not values["outputs"]),
            quiet=values["quiet"],
            verbose=values["verbose"],
            progress=values["progress"],
            color=values["color"],
            baseline=values.get("baseline"),
            columns=words_of(values.get("columns")),
            figures=values["figures"],
        )


def words_of(text: str | None) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def command_line() -> tuple[str, ...]:
    """The verb and its arguments as typed, absolute paths cut to file names so that results can be committed.

    How many processes there were (``-j``) changes no number and is left out, so that reports are the same bytes.
    """
    context = click.get_current_context()
    words = context.meta.get("gradscope.arguments", ())
    return tuple(without_directories(word) for word in without_jobs(words))


def without_jobs(words: Sequence[str]) -> list[str]:
    """Leave out ``-j N``, ``-jN``, ``--jobs N`` and ``--jobs=N``.

    >>> without_jobs(["gradients", "rnn", "-j", "2", "-T", "50"]), without_jobs(["gradients", "-j4", "--jobs=2", "rnn"])
    (['gradients', 'rnn', '-T', '50'], ['gradients', 'rnn'])
    """
    kept, words = [], list(words)
    while words:
        word = words.pop(0)
        if word in ("-j", "--jobs") and words and words[0].isdigit():
            words.pop(0)
        elif not re.fullmatch(r"(-j|--jobs=)\d+", word):
            kept.append(word)
    return kept


def without_directories(word: str) -> str:
    """Cut an absolute path to its last part, also behind ``--option=``; everything else stays.

    >>> without_directories("/tmp/x/w.npz:encoder=a/b"), without_directories("sub/w.npz")
    ('w.npz:encoder=a/b', 'sub/w.npz')
    >>> without_directories("--inputs=/tmp/x.npy"), without_directories("-o/tmp/r.json")
    ('--inputs=x.npy', '-or.json')
    """
    from gradscope.sources.spec import split_keys

    option = re.match(r"--[\w-]+=|-\w(?=/)", word)
    before = option.group() if option else ""
    path, keys = split_keys(word[len(before) :])
    return before + (os.path.basename(path) if os.path.isabs(path) else path) + keys


def _source_keys() -> set[str]:
    """Every key of the grammar of sources, and what else a sweep varies."""
    from gradscope.sources.spec import every_key

    return {*every_key(), "seed", "T", "epsilon"}


def _baseline(name: str, verb: str) -> Report:
    """The stored result to compare with, read before anything is measured.

    Raises
    ------
    UsageError
        It is of another verb.
    """
    from gradscope.reports.json_report import read_report

    baseline = read_report(name)
    if baseline.verb != verb:
        raise UsageError(f"--baseline {name}: wanted a result of {verb}, found one of {baseline.verb}.")
    return baseline


def measure(verb: str, sources: tuple[str, ...], values: dict[str, Any], **options: Any) -> tuple[int, Report]:
    """Measure sources with the Python function of the same name and deliver the result, as ``deliver`` does."""
    refuse_empty(sources, verb)
    words = command_line()

    def make(progress: Progress) -> Report:
        import gradscope

        function: Callable[..., Report] = getattr(gradscope, verb)
        return function(*sources, command=words, progress=progress, **options)

    return deliver(verb, Delivery.from_options(values), make)


def deliver(verb: str, delivery: Delivery, make: Callable[[Progress], Report]) -> tuple[int, Report]:
    """Measure and write, or compare with a baseline and write that; returns the exit code and what was measured."""
    from gradscope.reports.gates import check_names

    baseline = None if delivery.baseline is None else _baseline(delivery.baseline, verb)
    written = "diff" if baseline else verb
    if delivery.expressions:
        check_names(delivery.expressions, written, keys=_source_keys())
    delivery = replace(delivery, columns=_columns(delivery.columns, written))
    _check_figures(delivery, written)
    with Outputs(delivery.outputs) as outputs:
        with Progress(delivery.progress, quiet=delivery.quiet) as progress:
            measured = make(progress)
        report = measured
        if baseline is not None:
            from gradscope.reports.compare import diff

            report = diff(baseline, measured, command=measured.command)
        report = judged(report, delivery)
        _say_what_is_not_drawn(report, delivery)
        outputs.write(report, figures=delivery.figures)
        write_to_stdout(report, delivery)
    return judge(report, delivery), measured


def _columns(asked: tuple[str, ...], verb: str) -> tuple[str, ...]:
    """Field names of the columns asked for, each by its name or by what stands above it, before anything is measured.

    Raises
    ------
    UsageError
        Rows of this verb have no such field.
    """
    from gradscope.fields import ROWS

    titles = {one.title.strip(): one.name for one in reversed(ROWS[verb])}
    known = {one.name for one in ROWS[verb]} | (_source_keys() if verb == "sweep" else set())
    for name in asked:
        if name not in known and name not in titles:
            raise UsageError(f"--columns: {verb} has no '{name}'.{did_you_mean(name, known) or ' See docs/fields.md.'}")
    return tuple(name if name in known else titles[name] for name in asked)


def _check_figures(delivery: Delivery, verb: str) -> None:
    """Refuse a figure that no report of this verb has, before anything is measured.

    Raises
    ------
    UsageError
        The message lists those there are.
    """
    from gradscope.reports.views import FIGURES

    known = FIGURES.get(verb, ())
    for name in delivery.figures:
        if name not in known:
            listed = f"known: {', '.join(known)}." if known else "it draws none."
            raise UsageError(f"--figure {name}: {verb} has no such figure; {listed}{did_you_mean(name, known)}")


def _say_what_is_not_drawn(report: Report, delivery: Delivery) -> None:
    """A figure that this verb has and this result has not (gates of a plain rnn) would be an empty picture."""
    from gradscope.reports.views import view

    if not delivery.figures or delivery.quiet:
        return
    drawn = {figure.name for _, figure in view(report, verbose=True).figures(delivery.figures)}
    missing = [name for name in delivery.figures if name not in drawn]
    if missing:
        print(f"--figure {', '.join(missing)}: there is nothing of the kind in this result.", file=sys.stderr)


def judged(report: Report, delivery: Delivery) -> Report:
    """The report with the outcome of the gates that were asked for; as it was without any."""
    from gradscope.reports.gates import evaluate

    if not delivery.expressions:
        return report
    return replace(report, gates=evaluate(report, delivery.fail_on, delivery.warn_on, delivery.expect))


def deliver_stored(report: Report, delivery: Delivery) -> int:
    """Judge and write a report that already exists; without new gates it keeps those it was stored with."""
    _check_figures(delivery, report.verb)
    with _values_that_fit(), Outputs(delivery.outputs) as outputs:
        report = judged(report, delivery)
        outputs.write(report, figures=delivery.figures)
        write_to_stdout(report, delivery)
    return judge(report, delivery) if delivery.expressions else 0


@contextmanager
def _values_that_fit() -> Iterator[None]:
    """Types are checked where a result is read; settings, details and varied keys have none to check against."""
    try:
        yield
    except GradscopeError:
        raise
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as problem:
        raise InputError(
            f"the stored result holds a value that cannot be shown ({type(problem).__name__}: {problem}); "
            "it was changed after it was written.\nMeasure again, or see the traceback with -vv."
        ) from problem


def write_to_stdout(report: Report, delivery: Delivery) -> None:
    """The report in the chosen format; a plot stands above it, since the answer comes last.

    What stdout can show, the terminal and COLUMNS, NO_COLOR, FORCE_COLOR and TERM=dumb say; ``--color always`` wins.
    """
    from gradscope.reports.formats import write
    from gradscope.reports.table import terminal_width, wants_color, wants_unicode

    if delivery.columns:
        from gradscope.reports.query import select

        report = select(report, columns=delivery.columns)
    look: dict[str, Any] = {
        "width": terminal_width(),
        "color": wants_color(delivery.color),
        "unicode": wants_unicode(),
    }
    if delivery.plot:
        from gradscope.reports.terminal_plot import render

        # With a machine format on stdout the drawing would be part of the data.
        stream = sys.stdout if delivery.format_name in ("table", "md") else sys.stderr
        drawn = render(report, figures=delivery.figures, **look)
        stream.write(f"{drawn}\n" if drawn else "")
    write(report, delivery.format_name, sys.stdout, verbose=delivery.verbose > 0, **look)
    if delivery.format_name == "github":
        from gradscope.reports.github import append_step_summary

        append_step_summary(report)
    sys.stdout.flush()


def judge(report: Report, delivery: Delivery) -> int:
    """Say on stderr which gates tripped; 1 if one of them was to fail."""
    tripped = [gate for gate in report.gates if not gate.passed]
    for gate in tripped:
        if not delivery.quiet or gate.level == "fail":
            print(message(_gate_line(gate)), file=sys.stderr)
    return 1 if any(gate.level == "fail" for gate in tripped) else 0


def _gate_line(gate: GateOutcome) -> str:
    return gate.message or f"{gate.level}: wanted {gate.condition} ({gate.source}: found {gate.found})"
