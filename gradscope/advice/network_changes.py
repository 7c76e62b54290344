"""Changes of the network, each measured: families are searched, alternatives tried; apart, or one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace

from gradscope.advice.advise_request import AdviceRequest
from gradscope.advice.changes import Change, Family, alternatives, families
from gradscope.advice.measured import Bench, Measured, overflowed, read
from gradscope.advice.search import smallest
from gradscope.errors import UntrustedNumbersError
from gradscope.sources.build import build_source
from gradscope.sources.source import Source
from gradscope.sources.spec import SourceSpec

#: Squares of the state's size times steps from which processes of their own pay for their start.
WORTH_PROCESSES = 1_000_000


@dataclass(frozen=True)
class Question:
    """What one result of a source is asked to do better.

    Attributes
    ----------
    place : int
        Which of the source's results.
    before : Measured
        The network as it is.
    reach : int
        The lag asked for.
    """

    place: int
    before: Measured
    reach: int

    @property
    def shrinks(self) -> bool:
        """Whether gradients explode, so that less is wanted and not more."""
        return self.before.explodes

    def helps(self, after: Measured) -> bool:
        """Whether the h corner reaches without exploding; of an exploding network, whether a lower rate ends that."""
        if after.explodes:
            return False
        if not self.shrinks:
            return after.reaches(self.reach)
        return after.rate is None or (self.before.rate is not None and after.rate < self.before.rate)

    def enough(self, after: Measured) -> bool:
        """Where a search may stop going further: at a network that reaches, even by exploding."""
        return self.helps(after) if self.shrinks else after.reaches(self.reach)

    def nearness(self, after: Measured) -> float:
        """Orders changes that do not help."""
        if self.shrinks:
            return float("-inf") if after.rate is None else -after.rate
        return -2.0 if after.explodes else after.farthest


@dataclass(frozen=True)
class Task:
    """One kind's search, or one alternative, for every result of a source: what a process of its own can do."""

    spec: SourceSpec
    request: AdviceRequest
    questions: tuple[Question, ...]
    kind: str
    text: str | None = None


def measure_changes(source: Source, request: AdviceRequest, questions: list[Question]) -> dict[int, list[Measured]]:
    """Measure every change that was asked for, on ``request.jobs`` processes where that pays.

    Returns
    -------
    dict
        By the result's place, in the order of the tasks, however they were run.
    """
    tasks = _tasks(source, request, tuple(questions))
    jobs = min(request.jobs, len(tasks))
    steps = max((question.before.steps for question in questions), default=0)
    work = int(source.record["state_size"]) ** 2 * steps * request.batch
    results = _apart(tasks, jobs) if jobs > 1 and work >= WORTH_PROCESSES else _here(tasks, source, request)
    answers: dict[int, list[tuple[int, Measured]]] = {question.place: [] for question in questions}
    for done, (index, found) in enumerate(results, start=1):
        if request.progress is not None:
            request.progress(f"{source.spec.text}: changes", done, len(tasks))
        for place, measured in found:
            answers[place].append((index, measured))
    return {place: [pair[1] for pair in sorted(pairs, key=lambda pair: pair[0])] for place, pairs in answers.items()}


def _tasks(source: Source, request: AdviceRequest, questions: tuple[Question, ...]) -> list[Task]:
    base = Task(source.spec, replace(request, progress=None, jobs=1), questions, "")
    kinds, texts = dict[str, None](), dict[str, str]()
    for question in questions:
        kinds |= dict.fromkeys(family.kind for family in _families(source, question))
        texts |= {change.text: change.kind for change in _alternatives(source, question)}
    tasks = [replace(base, kind=kind) for kind in kinds if request.wants(kind)]
    return tasks + [replace(base, kind=kind, text=text) for text, kind in texts.items() if request.wants(kind)]


def _families(source: Source, question: Question) -> list[Family]:
    return families(source, reach=question.reach, shrink=question.shrinks)


def _alternatives(source: Source, question: Question) -> list[Change]:
    return alternatives(source, reach=question.reach, shrink=question.shrinks)


def _here(
    tasks: list[Task], source: Source, request: AdviceRequest
) -> Iterator[tuple[int, list[tuple[int, Measured]]]]:
    bench = Bench(source, request)
    for index, task in enumerate(tasks):
        yield index, answer(task, bench)


def _apart(tasks: list[Task], jobs: int) -> Iterator[tuple[int, list[tuple[int, Measured]]]]:
    """The same in processes, in the order in which they end."""
    from gradscope.sweeps.engines import Processes

    engine, done = Processes(jobs), False
    try:
        futures = {engine.submit(answer, task): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
        done = True
    finally:
        engine.stop(kill=not done)


def answer(task: Task, bench: Bench | None = None) -> list[tuple[int, Measured]]:
    """Every result's change of one task; in a process of its own the source is built again, the same one."""
    request = task.request
    if bench is None:
        bench = Bench(build_source(task.spec, seed=request.seed, dtype=request.dtype), request)
    out: list[tuple[int, Measured]] = []
    for question in task.questions:
        if task.text is None:
            chosen = [family for family in _families(bench.source, question) if family.kind == task.kind]
            out += [(question.place, _searched(bench, question, family)) for family in chosen]
        else:
            changes = [change for change in _alternatives(bench.source, question) if change.text == task.text]
            out += [(question.place, _measured(bench, question, change)) for change in changes]
    return out


def _searched(bench: Bench, question: Question, family: Family) -> Measured:
    return smallest(
        family,
        lambda change: _measured(bench, question, change),
        question.enough,
        before=question.before,
        nearer=question.nearness,
    )


def _measured(bench: Bench, question: Question, change: Change) -> Measured:
    try:
        changed = bench.with_change(change)[question.place]
    except UntrustedNumbersError as problem:
        return overflowed(change, question.before.steps, str(problem).partition("\n")[0].rstrip("."))
    return read(changed, reach=question.reach, epsilon=bench.request.epsilon, change=change)
