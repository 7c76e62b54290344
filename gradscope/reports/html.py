"""One self-contained HTML page: verdict first, figures with their tables, no network, light, dark and on paper."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html import escape as html_escape

from gradscope.records import Report
from gradscope.reports.document import (
    GATES,
    Block,
    Column,
    Curve,
    DiscFigure,
    Document,
    Figure,
    HeatFigure,
    LineFigure,
    Number,
    Section,
    Sentence,
    Table,
)
from gradscope.reports.figure_scale import x_range
from gradscope.reports.html_assets import SCRIPT, STYLE
from gradscope.reports.junit import valid
from gradscope.reports.numbers import NULL, fixed, significant
from gradscope.reports.reading import spread
from gradscope.reports.svg import LEFT, PLOT_HEIGHT, PLOT_WIDTH, WIDTH, figure_svg, plot_top
from gradscope.reports.views import view
from gradscope.reports.views.thinning import thinned

MOST_BYTES = 300_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render(report: Report) -> str:
    """Render a report as one HTML page of less than 300 KB.

    Long curves and tables are thinned until the page fits (and say so); CSV and JSON hold everything.
    """
    document = view(report, verbose=True)
    page = ""
    for points, rows in ((320, 400), (160, 200), (80, 60), (40, 20), (12, 8)):
        page = _page(document, points, rows)
        if len(page.encode("utf-8", "backslashreplace")) < MOST_BYTES:
            return page
    # Hundreds of sources: the side by side alone still answers the question.
    head = next((section for section in document.sections if not section.heading), document.sections[0])
    note = Sentence(
        "Single sources were left out to keep this page small; -f json holds everything.", "warning", "mixed"
    )
    cut = replace(head, blocks=(*(block for block in head.blocks if isinstance(block, Table | Sentence)), note))
    return _page(replace(document, sections=(cut,)), 12, 400)


def text(raw: str) -> str:
    """Text of an HTML element or attribute."""
    return html_escape(valid(raw), quote=True)


def _page(document: Document, points: int, rows: int) -> str:
    body: list[str] = []
    number = 0
    for place, section in enumerate(document.sections):
        body.append(f'<section aria-labelledby="s{place}">')
        body.append(f'<h2 id="s{place}">{text(section.heading or section.label)}</h2>')
        if section.subheading:
            body.append(f'<p class="sub">{text(section.subheading)}</p>')
        # The verdict of all, or of the only source, stands under the title already.
        told = not section.heading or sum(one.heading != GATES for one in document.sections) == 1
        for block in sorted(section.blocks, key=_order):
            if isinstance(block, Sentence):
                if told and block.role == "verdict":
                    continue
                if block.role == "code":
                    body.append(f"<pre><code>{text(block.text)}</code></pre>")
                    continue
                name = "verdict" if block.role == "verdict" else "warning" if block.role == "warning" else "note"
                body.append(f'<p class="{name} {block.tone}">{text(block.text)}</p>')
            elif isinstance(block, Table):
                table = html_table(block, rows, label=_named(block, section))
                body.append(_folded(table, block) if block.folded else table)
            else:
                body.append(_figure(block, f"f{number}", points))
                number += 1
        body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<link rel="icon" href="data:,"><title>{text(_title(document))}</title>\n<style>{STYLE}</style></head>\n'
        f'<body><a class="skip" href="#main">Skip to the report</a><header><h1>{text(document.title)}</h1>'
        f'{_lead(document)}</header>\n<main id="main">\n'
        + "\n".join(body)
        + f"\n<section><h2>How to reproduce</h2><pre><code>{text(document.reproduce)}</code></pre>"
        f'<p class="made">{text(document.made_by)}</p></section></main>\n<script>{SCRIPT}</script></body></html>\n'
    )


def _order(block: Block) -> int:
    """Sentences, the main figure, tables, what is left: what a reader with one minute needs comes first."""
    if isinstance(block, Sentence):
        return 0 if block.tone != "dim" else 2  # what explains a table's columns stays under it
    return 2 if isinstance(block, Table) else 3 if block.minor else 1


def _title(document: Document) -> str:
    first = next((s.heading for s in document.sections if s.heading), "")
    return f"{document.title}: {first}" if first else document.title


def _lead(document: Document) -> str:
    """The verdict of every source, before anything else."""
    said = []
    for section in document.sections:
        who = f"<strong>{text(section.heading)}</strong>: " if section.heading else ""
        verdicts = (block for block in section.blocks if isinstance(block, Sentence) and block.role == "verdict")
        said += [f'<p class="verdict {verdict.tone}">{who}{text(verdict.text)}</p>' for verdict in verdicts]
    shown = said if len(said) <= 12 else [*said[:12], f"<p>... and {len(said) - 12} more below.</p>"]
    return "".join(shown)


def html_table(table: Table, most: int, *, label: str = "") -> str:
    """A table as HTML, thinned to ``most`` rows; the first column heads the rows."""
    if not table.rows:
        return ""
    kept = spread(len(table.rows), most)
    left_out = len(table.rows) > most
    caption = table.caption + (f" ({most} of {len(table.rows)} rows; all in CSV or JSON)" if left_out else "")
    out = [f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption or label or "Table")}"><table>']
    if caption and not table.folded:
        out.append(f"<caption>{text(caption)}</caption>")
    elif label:
        out.append(f'<caption class="heard">{text(label)}</caption>')
    if any(column.title for column in table.columns):
        out.append(f"<thead><tr>{''.join(map(_head, table.columns))}</tr></thead>")
    out.append("<tbody>")
    for i in kept:
        tone = table.tones[i] if i < len(table.tones) else "plain"
        cells = "".join(
            _cell(c, value, j) for j, (c, value) in enumerate(zip(table.columns, table.rows[i], strict=True))
        )
        out.append(f'<tr class="{tone}">{cells}</tr>' if tone != "plain" else f"<tr>{cells}</tr>")
    return "".join([*out, "</tbody></table></div>"])


def _named(table: Table, section: Section) -> str:
    """What a table without a caption is to somebody who hears the page: its columns, and of what."""
    titles = [column.title.strip() for column in table.columns if column.title.strip()]
    of = section.heading or section.label
    return f"{of}: {', '.join(titles[:6])}{' …' if len(titles) > 6 else ''}" if titles else of


def _folded(table: str, block: Table) -> str:
    return f"<details><summary>{text(block.caption)}</summary>{table}</details>"


def _head(column: Column) -> str:
    meaning = f' title="{text(column.meaning)}"' if column.meaning else ""
    side = ' class="r"' if column.align == "right" else ""
    unit = f'<span class="unit"> ({text(column.unit)})</span>' if column.unit else ""
    return f'<th scope="col"{side}{meaning}>{text(column.title.strip())}{unit}</th>'


def _cell(column: Column, value: str, place: int) -> str:
    side = ' class="r"' if column.align == "right" else ""
    return f'<th scope="row"{side}>{text(value)}</th>' if place == 0 else f"<td{side}>{text(value)}</td>"


def _figure(figure: Figure, prefix: str, points: int) -> str:
    if isinstance(figure, LineFigure):
        figure = replace(figure, curves=tuple(thinned(curve, points) for curve in figure.curves))
    drawn, height = figure_svg(figure, prefix=prefix)
    svg = f'<div class="plot"><svg viewBox="0 0 {WIDTH} {height}" tabindex="0">{drawn}</svg></div>'
    alternative = html_table(_as_table(figure), 40, label=figure.title)
    caption = (
        f"<figcaption>{text(figure.description)}{_export(figure)}"
        f"<details><summary>The values as a table</summary>{alternative}</details></figcaption>"
    )
    if not isinstance(figure, LineFigure):
        return f"<figure>{svg}{caption}</figure>"
    (low, high), top = x_range(figure), plot_top(figure)
    data = [{"name": c.name, "x": [_short(x) for x in c.x], "y": [_short(y) for y in c.y]} for c in figure.curves]
    held = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    power = ' data-power="10^"' if figure.powers else ""
    return (
        f'<figure data-plot="{LEFT} {PLOT_WIDTH} {low:g} {high:g} {top} {top + PLOT_HEIGHT}"'
        f' data-label="{text(figure.x_label)}"{power}>{svg}'
        '<p class="readout" aria-live="polite">Point at the figure, or focus it and use the arrow keys, for values.</p>'
        f'{caption}<script type="application/json">{held}</script></figure>'
    )


def _export(figure: Figure) -> str:
    """How to get this figure as a file of its own."""
    return f" <small>(alone: -o FILE.svg --figure {text(figure.name)})</small>" if figure.name else ""


def _short(value: Number) -> Number:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.5g}")


def _as_table(figure: Figure) -> Table:
    if isinstance(figure, LineFigure):
        return _lines_as_table(figure)
    if isinstance(figure, DiscFigure):
        columns = (Column("i"), Column("re"), Column("im"), Column("modulus"))
        rows = tuple(
            (str(i), fixed(re, 4), fixed(im, 4), fixed(math.hypot(re, im), 4, against=[1.0]))
            for i, (re, im) in enumerate(figure.points, start=1)
        )
        return Table("", columns, rows)
    return _heat_as_table(figure)


def _lines_as_table(figure: LineFigure) -> Table:
    first = max(figure.curves, key=lambda curve: len(curve.x))
    step = max(1, len(first.x) // 20)
    xs = sorted({*first.x[::step], *first.x[-1:]})
    unit = "log10" if figure.powers else ""
    columns = (Column(figure.x_label), *(Column(curve.name, unit=unit) for curve in figure.curves))
    rows = tuple((significant(x, 6), *(_at(curve, x) for curve in figure.curves)) for x in xs)
    return Table("", columns, rows)


def _at(curve: Curve, x: float) -> str:
    near = min(range(len(curve.x)), key=lambda i: abs(curve.x[i] - x), default=None)
    if near is None or curve.x[near] != x:
        return NULL
    return significant(curve.y[near], 5)


def _heat_as_table(figure: HeatFigure) -> Table:
    across = spread(len(figure.x_ticks), 12)
    columns = (Column(figure.y_label), *(Column(figure.x_ticks[c]) for c in across))
    rows = tuple(
        (figure.y_ticks[r], *(significant(figure.values[r][c]) for c in across)) for r in spread(len(figure.values), 16)
    )
    return Table(f"{figure.value_label} ({figure.x_label} across)", columns, rows)
