"""Every claim, run once: it agrees, its verdict is the published one, and its numbers depend on the seed alone."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import jsonschema
import pytest

import gradscope
from gradscope.article_claims.claim import Check, Experiment
from gradscope.article_claims.registry import MODULES, choose_claims, load_claim
from gradscope.article_claims.run_claims import measure_claims
from gradscope.cli import run
from gradscope.errors import UsageError
from gradscope.reports.schemas import load_schema
from gradscope.reports.views import FIGURES, view

DOCS = Path(__file__).parents[2] / "docs" / "claims.md"

#: The table of theory.md, section 1 ("mostly false", "false as written", "true as algebra" … by their first word).
VERDICTS = {
    "C01": "conditional", "C02": "conditional", "C03": "false", "C04": "false", "C05": "conditional",
    "C06": "false", "C07": "false", "C08": "conditional", "C09": "conditional", "C10": "true",
    "C11": "conditional", "C12": "conditional", "C13": "true", "C14": "false", "C15": "false",
    "C16": "true", "C17": "true", "C18": "conditional", "C19": "false", "C20": "false", "C21": "conditional",
    "C22": "conditional", "C23": "conditional", "C24": "conditional", "C25": "conditional",
}  # fmt: skip

#: Numbers of theory.md that the rows must show, from its own scripts.
PUBLISHED = {
    "C01": ("1.0768", "-1.7935"),
    "C02": ("238.45", "k=29"),
    "C05": ("0.7449", "107.4", "238.5", "1168"),
    "C10": ("-16.7697", "-17.3718"),
    "C12": ("1.44, 3.192, 148.91", "2.5e-14"),
    "C14": ("1.4142", "10.149"),
    "C21": ("2.929", "9.910"),
    "C25": ("2.963, 263.9",),
}


@pytest.fixture(scope="module")
def report() -> gradscope.Report:
    return gradscope.claims()


@pytest.fixture(scope="module")
def rows(report: gradscope.Report) -> dict[str, dict]:
    return {row["id"]: row for row in report.results[0].rows()}


def test_every_claim_of_the_theory_is_measured_in_order(rows: dict[str, dict]) -> None:
    assert list(rows) == [f"C{number:02d}" for number in range(1, 26)] == list(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_measurement_agrees_with_the_right_statement(
    name: str, report: gradscope.Report, rows: dict[str, dict]
) -> None:
    row = rows[name]
    failed = [check for check in report.results[0].details["experiments"][name] if not check["holds"]]
    assert not failed
    assert row["agrees"] is True
    assert row["verdict"] == VERDICTS[name]
    sentences = {"method", "seen", "in_fact"}
    assert set(row) == {"id", "claim", "verdict", "measured", "expected", "agrees", "seconds"} | sentences
    assert all(row[key].endswith(".") and len(row[key]) < 400 for key in sentences)
    assert re.search(r"\d", row["seen"]), "nothing was seen"
    assert re.search(r"\d", row["measured"]), "a measurement without a number"
    assert row["claim"].endswith(".")
    assert row["seconds"] > 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_show_the_published_constants(name: str, rows: dict[str, dict]) -> None:
    for constant in PUBLISHED[name]:
        assert constant in rows[name]["measured"]


def test_pictures_hold_what_was_measured(report: gradscope.Report) -> None:
    held = {drawn["name"]: drawn for found in report.results[0].details["figures"].values() for drawn in found}
    assert set(held) == set(FIGURES["claims"])
    curves = {name: {line["name"]: line for line in drawn["lines"]} for name, drawn in held.items()}
    block = curves["transient"]["W, a Jordan block"]["y"]
    assert block.index(max(block)) == 29
    assert 10 ** max(block) == pytest.approx(238.45, abs=0.01)
    normal = curves["transient"]["the same eigenvalues, orthogonal eigenvectors"]["y"]
    assert normal[100] == pytest.approx(100 * math.log10(0.9), abs=1e-9)
    # without recurrent weights what is left between two lags is a power of the forget gate
    for bias in (0, 1, 5):
        left = curves["forget-bias"][f"forget bias {bias}"]["y"]
        assert left[90] - left[40] == pytest.approx(-50 * math.log10(1 + math.exp(-bias)), abs=1e-8)
    linear, louder = (curves["dilution"][name]["y"] for name in ("linear", "linear, x_2 … x_9 five times larger"))
    assert linear == louder
    field = curves["order-chaos"]["mean field at rest"]
    assert field["y"][0] == pytest.approx(math.log(0.5), abs=1e-6)
    signs = [y > 0.001 for y in curves["order-chaos"]["measured at rest, N = 200"]["y"]]
    assert (signs[:2], signs[-3:]) == ([False, False], [True, True, True])
    assert [figure.name for _, figure in view(report).figures(["transient"])] == ["transient"]


def test_the_report_is_what_the_schema_says(report: gradscope.Report) -> None:
    raw = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    jsonschema.validate(raw, load_schema("claims"))
    result = raw["results"][0]
    assert raw["schema"] == "gradscope/claims/1"
    assert result["source"]["name"] == "the article's claims"
    assert result["source"]["cell"] is None
    assert (
        result["summary"] | {"agree": 25, "disagree": 0, "true": 4, "conditional": 13, "false": 8} == result["summary"]
    )


def test_the_page_has_every_claim_with_its_sentence_and_verdict(rows: dict[str, dict]) -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name, row in rows.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {name} "))
        assert row["claim"].rstrip(".") in line, name
        assert f"| {row['verdict']} |" in line, name


#: Identities of algebra: shown, and no evidence. Everything else can fail, as the planted errors do.
IDENTITIES = {
    "C09": "max|h_t| over |h_0| + t",
    "C11": "|c_t| over |c_0| + t",
    "C13": "coupled, |h_0| = 3: max|h_t|",
    "C15": "layer norm: relative change of J_t when W → 10W",
    "C17": "rank of the 20 gradients ∂L_s/∂h_T handed to the encoder",
    "C20": "parameters after 5 and after 30 steps: difference",
    "C21": "rank of ∂h_30/∂(x_1…x_30), 120 numbers",
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_are_named_as_such(name: str, report: gradscope.Report) -> None:
    checks = report.results[0].details["experiments"][name]
    assert IDENTITIES[name] in {check["quantity"] for check in checks if check["identity"]}
    assert any(not check["identity"] for check in checks)


@pytest.mark.parametrize(
    "name",
    ["C02", "C03", "C06", "C07", "C08", "C09", "C10", "C11", "C12", "C13", "C14", "C15", "C17", "C18", "C19", "C21"],
)
def test_what_was_drawn_has_an_interval(name: str, report: gradscope.Report, rows: dict[str, dict]) -> None:
    assert re.search(r"\d±\d", rows[name]["measured"])
    halves = [check["half_width"] for check in report.results[0].details["experiments"][name]]
    assert name in ("C03", "C10", "C17", "C18", "C19") or any(half is not None and half > 0 for half in halves)


def test_exponents_of_whole_lstms_have_intervals(rows: dict[str, dict]) -> None:
    assert len(re.findall(r"[+-]\d\.\d{3}±\d\.\d{3}", rows["C12"]["measured"])) == 4


def without_seconds(result: gradscope.Result) -> tuple:
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in result.rows()]
    return rows, result.details, result.summary


@pytest.mark.parametrize("name", ["C03", "C08", "C17"])
def test_numbers_do_not_depend_on_what_runs_beside(name: str, rows: dict[str, dict]) -> None:
    (alone,) = measure_claims([name]).rows()
    assert {**alone, "seconds": 0} == {**rows[name], "seconds": 0}


def test_numbers_do_not_depend_on_jobs() -> None:
    serial, parallel = (measure_claims(("C20", "C03", "C13"), seed=3, jobs=jobs) for jobs in (1, 2))
    assert without_seconds(serial) == without_seconds(parallel)
    assert [row["id"] for row in parallel.rows()] == ["C03", "C13", "C20"]


def test_another_seed_gives_other_numbers_and_still_agrees() -> None:
    first, second = (next(measure_claims(["C03"], seed=seed).rows()) for seed in (1, 2))
    assert first["measured"] != second["measured"]
    assert first["agrees"]
    assert second["agrees"]


def test_progress_counts_claims() -> None:
    said: list[tuple[str, int, int]] = []
    measure_claims(["C03", "C20"], progress=lambda *words: said.append(words))
    assert said == [("claims", 0, 2), ("claims", 1, 2), ("claims", 2, 2)]


def test_an_unknown_claim_is_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match=r"no claim 'C77'.*C25"):
        choose_claims(["C77"])
    with pytest.raises(UsageError, match="--jobs 0"):
        measure_claims(["C03"], jobs=0)
    with pytest.raises(UsageError, match="--seed -1"):
        measure_claims(["C03"], seed=-1)


@pytest.mark.parametrize("name", MODULES)
def test_ids_match_their_modules(name: str) -> None:
    claim = load_claim(name)
    assert claim.id == name
    assert MODULES[name].startswith(name.lower() + "_")


class TestCommand:
    def test_prints_rows_and_the_experiments_with_v(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["claims", "--claim", "c20", "--claim", "C03", "-j", "1", "-v"]) == 0
        out = capsys.readouterr().out
        assert "All 2 measurements agree" in out
        assert out.index("C03") < out.index("C20")
        assert "smallest contribution of the steps" in out

    def test_a_claim_against_the_prediction_is_exit_1(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gradscope.article_claims import c03_gradient_formula as module

        # The article's own formula in place of the product in its order.
        monkeypatch.setattr(module, "in_order", lambda W, slopes: module.commuted(W, slopes[::-1]))
        assert run(["claims", "--claim", "C03", "--claim", "C20", "-j", "1"]) == 1
        captured = capsys.readouterr()
        assert "This did not come out as predicted." in captured.out
        assert "1 of 2 claims came out against the prediction: C03." in captured.err
        assert "--claim C03 --seed 0 -v" in captured.err

    def test_an_unknown_claim_is_exit_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["claims", "--claim", "C77"]) == 2
        assert "no claim 'C77'" in capsys.readouterr().err

    def test_seed_reaches_the_experiments(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["claims", "--claim", "C03", "--seed", "1", "-j", "1", "--json"]) == 0
        raw = json.loads(capsys.readouterr().out)
        assert raw["seed"] == 1
        assert raw["results"][0]["rows"][0]["measured"] == next(measure_claims(["C03"], seed=1).rows())["measured"]


class TestChecks:
    @pytest.mark.parametrize(
        ("measured", "relation", "expected", "allowance", "holds"),
        [
            (1.0, "=", 1.1, 0.05, False),
            (1.0, "=", 1.1, 0.11, True),
            (1.0, "≤", 0.9, 0.05, False),
            (1.0, "≤", 0.9, 0.11, True),
            (1.0, "≥", 1.1, 0.05, False),
            (1.0, "≥", 0.9, 0.0, True),
            (float("nan"), "=", 1.0, 1.0, False),
            (float("nan"), "≤", 1.0, 1.0, False),
            (float("nan"), "≥", 1.0, 1.0, False),
            (float("-inf"), "=", float("-inf"), 0.0, True),
        ],
    )
    def test_hold_or_do_not(self, measured: float, relation, expected: float, allowance: float, holds: bool) -> None:
        assert Check("x", measured, relation, expected, allowance).holds is holds

    def test_an_experiment_without_checks_has_shown_nothing(self) -> None:
        assert not Experiment().finding("nothing", "nothing", "Nothing.").agrees

    def test_what_can_only_hold_is_no_evidence(self) -> None:
        found = Experiment()
        found.at_most("rank of 8 rows", 8, 8, identity=True)
        assert not found.finding("8", "8", "Seen.").agrees
        found.equal("something measured", 1.0, 1.0)
        assert found.finding("8", "8", "Seen.").agrees
        found.at_most("rank of 9 rows", 9, 8, identity=True)
        assert not found.finding("8", "8", "Seen.").agrees

    def test_a_mean_is_held_to_its_standard_error(self) -> None:
        found = Experiment()
        mean, half = found.mean("x", [0.0, 2.0], 1.0, variance=2.0)
        assert (mean, half) == (1.0, 1.96)
        assert found.checks[0].allowance == 4.5
