"""Write the measured tables of docs/what-now.md: ``.venv/bin/python docs/make_advice_table.py``.

Every number is what ``gradscope advise`` gives for the command beside it.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import gradscope
from gradscope.records import Result

PAGE = Path(__file__).with_name("what-now.md")
STEPS, REACH = 200, 100
LADDER = ("rnn", "leaky", "skip", "forget-gate", "input-gate", "lstm", "gru")
FRESH = ("rnn:init=pytorch", "lstm:init=pytorch", "gru:init=pytorch", "lstm:init=keras", "gru:init=keras")


def reach(row: dict[str, Any], when: str) -> str:
    """A horizon of the h corner."""
    if row[f"{when}_horizon_h_censored"]:
        return f"> {STEPS}"
    return str(row[f"{when}_horizon_h"])


def line(result: Result) -> str:
    """One network: now, truncation, and every change that was measured."""
    rows = list(result.rows())
    now = f"> {STEPS}" if result.summary["reach_now_censored"] else str(result.summary["reach_now"])
    best = next((row for row in rows if row["helps"] and row["kind"] == result.summary["best"]), None)
    told = f"`{best['change']}`: {reach(best, 'after')}, {best['after_verdict']}" if best else "-"
    others = [
        f"`{row['change']}` {'' if row['helps'] else 'no, '}{reach(row, 'after')}"
        for row in rows
        if row["change"] and row is not best
    ]
    length = result.summary["tbptt_length"]
    name = result.source["name"]
    return f"| `{name}` | {now}, {result.summary['verdict']} | {length} | {told} | {'; '.join(others) or '-'} |"


def table(sources: tuple[str, ...]) -> str:
    """A line per network."""
    head = "| network | reach now | TBPTT | smallest change that helps | others: reach, *no* where it did not help |"
    report = gradscope.advise(*sources, steps=STEPS, reach=REACH)
    return "\n".join([head, "|---|---|---:|---|---|", *map(line, report.results)])


def trainings() -> str:
    """What the record of trainings says, and the figure beside it."""
    example = runpy.run_path(str(PAGE.parents[1] / "examples" / "horizon_and_training.py"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        example["summarise"](example["RECORD"])
    example["draw"](example["RECORD"], PAGE.parent / "images" / "horizon_and_training.svg")
    # A table follows its caption after an empty line.
    return printed.getvalue().strip().replace(" trainings\n", " trainings.\n\n")


def main() -> None:
    """Replace what stands between the marks; ``--trainings`` only what the record says."""
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(
        "<!-- trainings -->.*?<!-- trainings -->",
        lambda _: f"<!-- trainings -->\n{trainings()}\n<!-- trainings -->",
        text,
        flags=re.DOTALL,
    )
    PAGE.write_text(text, encoding="utf-8")
    if "--trainings" in sys.argv:
        return
    for name, sources in (("ladder", LADDER), ("fresh", FRESH)):
        mark = f"<!-- {name} -->"
        text = re.sub(f"{mark}.*?{mark}", lambda _, m=mark, s=sources: f"{m}\n{table(s)}\n{m}", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
