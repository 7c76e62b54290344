"""JUnit XML: one case per gate and source, with the numbers in the failure's text."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from gradscope.records import GateOutcome, Report
from gradscope.reports.numbers import to_ascii
from gradscope.reports.reading import labels
from gradscope.reports.views.common import cell, outcome, reproduce

# XML 1.0 knows no other control characters, surrogates or non-characters, not even as &#...;
_NOT_XML = re.compile("[^\\t\\n\\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def valid(text: str) -> str:
    r"""Spell what XML cannot hold as a backslash escape.

    >>> valid("a\x1bb")
    'a\\x1bb'
    """
    return _NOT_XML.sub(lambda match: match[0].encode("ascii", "backslashreplace").decode() if ord(match[0]) > 127
                        else f"\\x{ord(match[0]):02x}", text)  # fmt: skip


def _attribute(text: str) -> str:
    # quoteattr writes a newline, tab or return as a reference, so that a parser gives it back unchanged.
    return quoteattr(valid(text))


def render(report: Report, *, unicode: bool = True) -> str:
    """Render the gates as JUnit XML, each case named by its wanted condition.

    A report without gates has one passing case per source. A ``warn`` gate that trips does not fail its case: its
    text stands in ``system-out``, where a passing one says what was found.
    """
    cases = [_gate_case(gate) for gate in report.gates] or _measured_cases(report)
    failures = sum(not gate.passed and gate.level == "fail" for gate in report.gates)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0"'
    name = _attribute(f"gradscope {report.verb}")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {counts}>",
        f'  <testsuite name={name} {counts} skipped="0">',
        "    <properties>",
        f'      <property name="gradscope" value={_attribute(report.gradscope)}/>',
        f'      <property name="seed" value={_attribute(str(report.seed))}/>',
        f'      <property name="command" value={_attribute(reproduce(report))}/>',
        "    </properties>",
        *cases,
        "  </testsuite>",
        "</testsuites>",
        "",
    ]
    text = "\n".join(lines)
    return text if unicode else to_ascii(text)


def _gate_case(gate: GateOutcome) -> str:
    head = f"    <testcase classname={_attribute(gate.source or 'gradscope')} name={_attribute(gate.condition)}"
    plain_words = f"wanted {gate.condition}, found {cell(gate.found)}"
    said = (not gate.passed and gate.message) or plain_words
    if outcome(gate) != "FAIL":
        return f"{head}>\n      <system-out>{escape(valid(f'{outcome(gate)}: {said}'))}</system-out>\n    </testcase>"
    said = f"FAIL: {said}"
    short = _attribute(said.split("\n", 1)[0])
    return f'{head}>\n      <failure type="gate" message={short}>{escape(valid(said))}</failure>\n    </testcase>'


def _measured_cases(report: Report) -> list[str]:
    return [
        f'    <testcase classname={_attribute(name)} name="measured">\n'
        f"      <system-out>{escape(valid(str(result.summary.get('verdict') or 'measured')))}</system-out>\n"
        "    </testcase>"
        for name, result in zip(labels(report), report.results, strict=True)
    ]
