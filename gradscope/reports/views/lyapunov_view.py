"""Lyapunov exponents with their error bars: does the gradient shrink or grow per step, and is the number settled."""

from __future__ import annotations

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Curve, Document, LineFigure, Section, Sentence, Table, Tone
from gradscope.reports.numbers import count, fixed, printable, significant
from gradscope.reports.reading import column, labels, number, picked, shown_rows
from gradscope.reports.views.common import about_source, document, short_cell, warnings_of
from gradscope.reports.views.thinning import thinned

_SAID = {"max", "sum", "mean_log_det", "kaplan_yorke_dimension", "entropy_rate", "converged", "steps", "verdict"}


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Verdict, summary and exponents of each source."""
    sections = []
    names = labels(report)
    if len(report.results) > 1:
        sections.append(Section("", (_side_by_side(report, names),)))
    for name, result in zip(names, report.results, strict=True):
        blocks: list[Block] = [*_verdict(result), _summary(result), _exponents(result, verbose)]
        blocks += [*warnings_of(result), *(figures_of(result) if figures else ())]
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Lyapunov exponents", sections)


def _first(result: Result) -> tuple[float | None, float | None, float | None, str]:
    if not result.n_rows:
        return None, None, None, "ok"
    value, low, high = (number(picked(result, name, [0])[0]) for name in ("exponent", "low", "high"))
    return value, low, high, str(picked(result, "status", [0])[0] or "ok")


def kind(result: Result) -> tuple[str, Tone]:
    """What the largest exponent says, with its interval: contracting, chaotic (expanding), or undecided."""
    value, low, high, status = _first(result)
    if status == "minus_infinity":
        return "contracting at once", "bad"
    if value is None:
        return "no verdict", "mixed"
    if high is not None and high < 0:
        return "contracting", "bad"
    if low is not None and low > 0:
        return "expanding", "bad"
    return "undecided about 0" if low is not None else "no interval", "mixed"


def _verdict(result: Result) -> list[Block]:
    value, low, high, status = _first(result)
    word, tone = kind(result)
    if status == "minus_infinity":
        said = f"{word}: every direction is lost (the Jacobians are rank-deficient in all of them)."
    elif value is None:
        said = "no verdict: no exponent was measured."
    else:
        size = f"the largest exponent is {fixed(value, 4, against=[0.0], sign=True)} nats per step"
        interval = "" if low is None or high is None else f" (95 % interval {_interval(low, high)})"
        effect = {
            "contracting": "perturbations and gradients shrink in the long run",
            "expanding": "perturbations and gradients grow in the long run",
            "no interval": "how well it is known cannot be said",
        }.get(word, "the interval does not exclude 0")
        said = f"{word}: {size}{interval}; {effect}."
    blocks: list[Block] = [Sentence(said, "verdict", tone)]
    settled = str(result.summary.get("verdict") or "")
    if result.summary.get("converged") is False:
        why = f" ({printable(settled.removeprefix('not converged: '))})" if settled else ""
        said = f"Not converged{why}: raise --steps before trusting these numbers."
        blocks.append(Sentence(said, "warning", "bad"))
    elif settled:
        blocks.append(Sentence(printable(settled[:1].upper() + settled[1:]) + "."))
    expected = number(result.summary.get("mean_field_exponent"))
    if expected is not None:
        said = (
            f"Mean field predicts {fixed(expected, 4, against=[0.0], sign=True)} for gaussian weights of infinite size."
        )
        blocks.append(Sentence(said))
    return blocks


def _interval(low: float, high: float) -> str:
    return f"{fixed(low, 4, against=[0.0], sign=True)} to {fixed(high, 4, against=[0.0], sign=True)}"


def _summary(result: Result) -> Table:
    s = result.summary
    total, log_det = number(s.get("sum")), number(s.get("mean_log_det"))
    lines = [
        ("sum of exponents, nats/step", significant(total, 6, against=[0.0])),
        ("mean log|det J|, nats/step", significant(log_det, 6, against=[0.0])),
        ("Kaplan-Yorke dimension", significant(s.get("kaplan_yorke_dimension"), 5)),
        ("entropy rate, nats/step", significant(s.get("entropy_rate"), 5, against=[0.0])),
        ("converged", short_cell(s.get("converged"))),
        ("steps", short_cell(s.get("steps"))),
    ]
    lines += [(name.replace("_", " "), short_cell(value)) for name, value in s.items() if name not in _SAID]
    return Table("", (Column("", "left"), Column("", "right", wrap=True)), tuple(lines))


def _exponents(result: Result, verbose: bool) -> Table:
    rows = list(range(result.n_rows)) if verbose else shown_rows(result, "index")
    names = ("exponent", "low", "high")
    values = [[number(v) for v in picked(result, name, rows)] for name in names]
    statuses = picked(result, "status", rows)
    # Singular values of the whole product stand beside the exponents where they were asked for.
    asked = "log10_singular_value" in result.columns
    logs = [number(v) for v in picked(result, "log10_singular_value", rows)] if asked else None
    lines = []
    for i, row in enumerate(picked(result, "index", rows)):
        value = "-inf" if statuses[i] == "minus_infinity" else fixed(values[0][i], 5, against=[0.0])
        ends = [fixed(v[i], 5, against=[0.0]) for v in values[1:]]
        sigma = () if logs is None else ("-inf" if logs[i] is None else fixed(logs[i], 5),)
        lines.append((str(row), value, *ends, *sigma, str(statuses[i] or "")))
    singular = () if logs is None else (Column("sigma", unit="log10"),)
    numbers = (Column(name, unit="nats/step") for name in names)
    columns = (Column("index"), *numbers, *singular, Column("status", "left"))
    caption = f"Exponents with 95 % intervals ({len(rows)} of {count(result.n_rows, 'exponent')})"
    return Table(caption, columns, tuple(lines))


def _side_by_side(report: Report, names: list[str]) -> Table:
    rows = []
    tones = []
    for name, result in zip(names, report.results, strict=True):
        value, low, high, status = _first(result)
        word, tone = kind(result)
        tones.append(tone)
        largest = "-inf" if status == "minus_infinity" else fixed(value, 4, against=[0.0], sign=True)
        interval = "-" if low is None or high is None else _interval(low, high)
        dimension = significant(result.summary.get("kaplan_yorke_dimension"))
        rows.append((name, word, largest, interval, dimension, short_cell(result.summary.get("converged"))))
    columns = (
        Column("source", "left"),
        Column("verdict", "left"),
        Column("largest", unit="nats/step"),
        Column("95 % interval", "left", 2, unit="nats/step"),
        Column("KY dim", "right", 3),
        Column("converged", "left", 1),
    )
    return Table("", columns, tuple(rows), tuple(tones))


def figures_of(result: Result) -> list[Block]:
    """The spectrum of exponents, and their convergence where the details hold it."""
    xs = [float(v) for v in column(result, "index")]
    ys = [number(v) for v in column(result, "exponent")]
    if not any(y is not None for y in ys):
        return []
    lows, highs = ([number(v) for v in column(result, name)] for name in ("low", "high"))
    spectrum = thinned(Curve("exponents", "measured", tuple(xs), tuple(ys), tuple(lows), tuple(highs)))
    positive = sum(y > 0 for y in ys if y is not None)
    said = f"{positive} of {len(ys)} exponents are positive; the line at 0 separates growth from decay."
    out: list[Block] = [
        LineFigure(
            "Lyapunov spectrum", said, "index", "exponent (nats per step)", (spectrum,), (("0", 0.0),), name="exponents"
        )
    ]
    running = result.details.get("convergence")
    if running:
        steps = tuple(float(s) for s in running["steps"])
        curves = tuple(
            thinned(Curve(f"exponent {i}", "measured" if i == 1 else "theory", steps, tuple(map(number, series))))
            for i, series in enumerate(running["exponents"][:4], start=1)
        )
        said = "Running time averages of the leading exponents; flat ends mean that they have settled."
        out.append(
            LineFigure("Convergence", said, "step", "exponent (nats per step)", curves, minor=True, name="convergence")
        )
    return out
