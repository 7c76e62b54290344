"""Terminal plots, SVG, PNG and PDF: within their bounds, deterministic, and true to the numbers."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace

import hand_made_reports as hand
import pytest

from gradscope.errors import MissingExtraError
from gradscope.reports import figure_files, formats, svg, terminal_plot
from gradscope.reports.canvas import Canvas
from gradscope.reports.document import Curve, LineFigure
from gradscope.reports.figure_scale import ticks, y_range
from gradscope.reports.seed_means import group_means, t_quantile
from gradscope.reports.views import view
from gradscope.reports.views.thinning import thinned

DRAWN = [
    hand.vanishing,
    hand.exploding,
    hand.neutral,
    hand.zero_rows,
    hand.lstm,
    hand.ladder,
    hand.spectrum,
    hand.lyapunov,
    hand.sweep,
]


@pytest.mark.parametrize("make", DRAWN)
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_terminal_plots_are_never_wider_than_asked(make, unicode, width):
    text = terminal_plot.render(make(), width=width, unicode=unicode)
    assert text
    assert max(map(len, text.splitlines())) <= width
    assert unicode or text.isascii()
    assert "\x1b" not in text


def test_the_measured_line_stands_where_the_numbers_are():
    # a straight line from (0, 0) to (10, -10): the dots go from the top left to the bottom right corner
    figure = LineFigure(
        "f",
        "",
        "x",
        "y",
        (Curve("measured", "measured", tuple(map(float, range(11))), tuple(-float(k) for k in range(11))),),
    )
    rows = [line[9:] for line in terminal_plot.plot(figure, 69, unicode=False)[1:21]]
    assert rows[0][0] == "*"
    assert rows[-1][-1] == "*"
    for r, row in enumerate(rows):
        places = [i for i, char in enumerate(row) if char == "*"]
        # 20 rows and 60 columns: row r holds the columns 3r to 3r + 2, give or take one of rounding
        assert places
        assert min(places) >= 3 * r - 1
        assert max(places) <= 3 * r + 3


def test_braille_dots():
    # Unicode names them DOTS-1 ... DOTS-8: 1, 2, 3, 7 down the left side, 4, 5, 6, 8 down the right.
    for x, names in ((0.25, "1237"), (0.75, "4568")):
        for row, name in enumerate(names):
            canvas = Canvas(1, 1)
            canvas.dot(x, 1 - (row + 0.5) / 4)
            assert unicodedata.name(canvas.lines()[0]) == f"BRAILLE PATTERN DOTS-{name}"


def test_the_map_marks_where_theory_expects_chaos():
    result = hand.sweep().results[0]
    report = hand.report("sweep", replace(result, source={**result.source, "cell": "rnn"}))
    ((_, figure),) = view(report).figures()
    # gains 0.5 ... 1.5 in steps of 0.1: gain 1 is the sixth row
    assert figure.line[1:] == ("y", pytest.approx(5.0))
    marked = [line for line in terminal_plot.render(report).splitlines() if line.endswith(" <")]
    assert [line.split()[0] for line in marked] == ["1"]
    assert "dotted: gain 1: chaos begins here without input" in svg.render(report)
    assert view(hand.sweep()).figures()[0][1].line is None  # of an unknown cell nothing is claimed


def test_nothing_to_plot_is_empty():
    assert terminal_plot.render(hand.inspect()) == ""


@pytest.mark.parametrize("make", hand.EVERY)
def test_svg_is_well_formed_deterministic_and_described(make):
    text = formats.render(make(), "svg")
    assert text == formats.render(make(), "svg")
    root = ET.fromstring(text)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        if group.get("role") == "img":
            assert all(i in ids for i in group.get("aria-labelledby").split())
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "nan" not in text
    assert "inf" not in re.sub(r"inf[a-z]", "", text)


def test_an_svg_curve_goes_through_its_points():
    figure = LineFigure("f", "d", "x", "y", (Curve("m", "measured", (0.0, 5.0, 10.0), (0.0, None, -2.0)),))
    drawn, _ = svg.figure_svg(figure, prefix="p")
    path, _legend = re.findall(r'class="curve c0" d="([^"]*)"', drawn)
    left, top, width, height = 64, 34, 632, 300
    inset = round(height * 0.03 / 1.06, 2)  # 3 % of the range is left above and below
    assert path == f"M{left} {top + inset}M{left + width} {top + height - inset}"  # the gap is not bridged


def test_a_name_cannot_break_out_of_an_svg():
    text = formats.render(hand.report("gradients", hand.gradients_result('<script>"&\x00')), "svg")
    assert "<script" not in text
    ET.fromstring(text)


@pytest.mark.parametrize("name", ["png", "pdf"])
def test_figure_files_are_the_same_bytes_twice(name):
    pytest.importorskip("matplotlib")
    first = formats.render(hand.spectrum(), name)
    assert first == formats.render(hand.spectrum(), name)
    assert first.startswith(b"\x89PNG" if name == "png" else b"%PDF")
    assert b"CreationDate" not in first
    assert "matplotlib.pyplot" not in sys.modules


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradscope-rnn\[plot\]'"):
        figure_files.require()


def test_bounds_far_away_do_not_flatten_the_measurement():
    xs = (0.0, 1.0)
    figure = LineFigure(
        "", "", "", "", (Curve("m", "measured", xs, (0.0, -1.0)), Curve("b", "bound", xs, (0.0, 500.0)))
    )
    low, high = y_range(figure)
    assert low == -1.0
    assert high <= 0.35


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-31, 1), (0.001, 0.0017), (-1e6, 3e5), (0, 1e-9)])
def test_ticks_are_round_few_and_inside(low, high):
    found = ticks(low, high, 7)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 * abs(high - low) <= t <= high + 1e-9 * abs(high - low) for t in found)
    step = found[1] - found[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9)) in (1, 2, 5)


def test_thinning_keeps_extremes_ends_and_gaps():
    n = 100_000
    ys = [math.sin(k / 5000) for k in range(n)]
    ys[61_803], ys[70_000] = 9.0, -9.0
    ys[80_000:80_500] = [None] * 500
    thin = thinned(Curve("c", "measured", tuple(map(float, range(n))), tuple(ys)))
    assert len(thin.x) <= 340
    assert (thin.x[0], thin.x[-1]) == (0.0, n - 1.0)
    assert 9.0 in thin.y
    assert -9.0 in thin.y
    assert None in thin.y


def test_student_quantiles_and_means_over_seeds():
    from scipy import stats

    for freedom in (1, 2, 5, 30, 31, 50, 200, 10_000):
        # printed to 6 decimals up to 30; the expansion's next term is of order z^7 / (384 n^3), below 1e-4 at n = 31
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-7 if freedom <= 30 else 1e-4)
    (mean,) = group_means([{"g": 1, "v": v} for v in (1.0, 2.0, 3.0)], ["g"], "v")
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert mean["n"] == 3
    assert (mean["mean"], mean["low"], mean["high"]) == pytest.approx((2.0, 2 - half, 2 + half), abs=1e-6)
