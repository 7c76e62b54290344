"""Markdown, JUnit and GitHub: every format of every verb is parsed back."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import hand_made_reports as hand
import pytest

from gradscope.errors import InputError
from gradscope.records import GateOutcome
from gradscope.reports import formats, github
from gradscope.reports.gates import evaluate

NASTY = "a|b*c_[d](e)<script>`x`@you\x1b[31m\x00&\"'\n::error::boo"


def with_gates(report, fail=(), warn=()):
    gates = evaluate(report, fail, warn)
    return hand.report(report.verb, *report.results, gates=gates)


@pytest.mark.parametrize("make", hand.EVERY)
@pytest.mark.parametrize("name", formats.STDOUT_FORMATS)
def test_every_format_renders_every_verb_twice_the_same(make, name):
    first, second = formats.render(make(), name), formats.render(make(), name)
    assert first == second
    assert isinstance(first, str)
    assert "nan" not in re.findall(r"[a-z]+", first.lower())
    assert formats.render(make(), name, unicode=False).isascii() or name in ("html", "csv", "json", "jsonl")


@pytest.mark.parametrize("make", hand.EVERY)
def test_markdown_tables_have_as_many_cells_as_heads(make):
    text = formats.render(make(), "md", verbose=True)
    assert text.startswith("## ")
    widths = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(cells) <= 1, block
        widths.update({len(lines): cells})
    assert any(widths)


def test_markdown_shows_a_nasty_name_as_it_is():
    text = formats.render(hand.report("gradients", hand.gradients_result(NASTY)), "md")
    head = next(line for line in text.splitlines() if line.startswith("### "))
    assert "\\<script\\>" in head
    assert "&#64;you" in head
    assert "\x1b" not in text
    assert "\n::error" not in text.replace("```", "")


def test_markdown_puts_the_verdict_in_bold_first():
    text = formats.render(hand.vanishing(), "md")
    assert text.index("**vanishing: the gradient reaches 9 steps back") < text.index("| lag (steps) |")
    assert "```sh\ngradscope gradients rnn\n```" in text


def test_junit_has_one_case_per_gate_and_source():
    report = with_gates(hand.ladder(), ["horizon < 50", "log10_norm@lag=100 < -6"], ["log10_rate > 0"])
    suite = ET.fromstring(formats.render(report, "junit")).find("testsuite")
    cases = suite.findall("testcase")
    assert [(c.get("name"), c.get("classname")) for c in cases] == [(g.wanted, g.source) for g in report.gates]
    assert cases[0].get("name") == "horizon >= 50"
    assert suite.get("tests") == "15"
    # horizon: rnn, forget-gate, input-gate; log10_norm at lag 100: rnn -31, forget-gate -20, input-gate zero
    assert suite.get("failures") == "6"
    failure = cases[0].find("failure")
    assert "expected horizon >= 50, found 9" in failure.text
    assert "reproduce: gradscope gradients rnn skip" in failure.text
    said = [c.findtext("system-out") for c in cases if c.find("system-out") is not None]
    assert [text.split(":")[0] for text in said].count("warn") == 1
    assert "pass: wanted horizon >= 50, found > 100" in said
    assert len(said) + 6 == 15  # every case says what was wanted, what was found, and how it came out


def test_junit_without_gates_has_a_case_per_source():
    root = ET.fromstring(formats.render(hand.ladder(), "junit"))
    assert [c.get("classname") for c in root.iter("testcase")] == ["rnn", "skip", "forget-gate", "input-gate", "lstm"]


@pytest.mark.parametrize("text", [NASTY, "\ud800 lone", "]]>", "\uffff\x0b", 'tab\tnl\n"quote"'])
def test_junit_is_valid_xml_whatever_is_in_a_name(text):
    gate = GateOutcome(text, "fail", False, text, text, text, text)
    root = ET.fromstring(formats.render(hand.report("gradients", gates=[gate]), "junit").encode())
    (case,) = root.iter("testcase")
    # What XML can hold comes back as it was (attributes and text alike); the rest is spelled out.
    holds = all(c in "\t\n\r" or " " <= c <= "\ud7ff" for c in text)
    for found in (case.get("name"), case.find("failure").text.removeprefix("FAIL: ")):
        assert found == text if holds else "\\" in found


def test_github_prints_a_line_per_failed_gate_and_nothing_else():
    report = with_gates(hand.ladder(), ["horizon < 50"], ["log10_rate > 0"])
    lines = formats.render(report, "github").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::error", "::warning"]
    assert lines[0].startswith(
        "::error title=gradscope%3A wanted horizon >= 50 (rnn)::--fail-on 'horizon < 50' on rnn: expected"
    )
    assert "%0A  reproduce: gradscope" in lines[0]
    assert formats.render(hand.ladder(), "github") == "gradscope: No gate was asked for.\n"


def test_github_escapes_what_could_break_a_command():
    assert github.escape_data("100 %\r\n::error::x") == "100 %25%0D%0A::error::x"
    assert github.escape_property("a:b,c%") == "a%3Ab%2Cc%25"
    gate = GateOutcome("horizon < 5", "fail", False, 1, NASTY, f"found in {NASTY}")
    (line,) = formats.render(hand.report("gradients", gates=[gate]), "github").splitlines()
    assert line.count("\n") == 0
    assert line.startswith("::error title=gradscope%3A")


def test_github_keeps_within_ten_annotations_of_a_level():
    gates = [GateOutcome(f"horizon < {i}", "fail", False, 0, f"net{i}", f"gate {i}") for i in range(25)]
    lines = formats.render(hand.report("gradients", gates=gates), "github").splitlines()
    assert len(lines) == 10
    assert "16 more gates failed" in lines[-1]
    assert all(f"(horizon < {i}) on net{i} " in lines[-1] for i in range(9, 25))


def test_the_step_summary_is_appended_within_its_limit(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    assert not github.append_step_summary(hand.vanishing(), environ={})
    assert github.append_step_summary(hand.vanishing(), environ={"GITHUB_STEP_SUMMARY": str(path)})
    assert path.read_text() == "before\n" + formats.render(hand.vanishing(), "md")
    path.write_bytes(b"x" * (github.SUMMARY_BYTES - 600) + b"\n")
    github.append_step_summary(hand.ladder(), environ={"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size <= github.SUMMARY_BYTES
    assert path.read_text().endswith("_The rest was left out: a step summary holds 1 MiB._\n")
    path.write_bytes(b"x" * github.SUMMARY_BYTES)
    github.append_step_summary(hand.ladder(), environ={"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size == github.SUMMARY_BYTES
    with pytest.raises(InputError, match="cannot be written"):
        github.append_step_summary(hand.vanishing(), environ={"GITHUB_STEP_SUMMARY": str(tmp_path)})
