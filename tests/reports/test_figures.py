"""Terminal plots, SVG, PNG and PDF: within their bounds, deterministic, and true to the numbers."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import hand_made_reports as hand
import pytest

from gradscope.cli import run
from gradscope.errors import MissingExtraError
from gradscope.reports import figure_files, formats, svg, terminal_plot
from gradscope.reports.canvas import Canvas
from gradscope.reports.document import Curve, HeatFigure, LineFigure
from gradscope.reports.figure_scale import power_text, power_ticks, sign_changes, ticks, within, y_range
from gradscope.reports.figure_style import LIGHT_STROKES
from gradscope.reports.seed_means import group_means
from gradscope.reports.views import FIGURES, view
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
    hand.claims,
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
    with pytest.raises(MissingExtraError, match=r"pip install matplotlib"):
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


def test_means_over_seeds():
    (mean,) = group_means([{"g": 1, "v": v} for v in (1.0, 2.0, 3.0)], ["g"], "v")
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)  # Student's quantile has a closed form for 2 degrees
    assert mean["n"] == 3
    assert (mean["mean"], mean["low"], mean["high"]) == pytest.approx((2.0, 2 - half, 2 + half), rel=1e-11)


def test_the_horizon_stands_on_the_curve_and_the_verdict_in_the_title():
    drawn = svg.render(hand.vanishing())
    # 101 lags over 632 units, T = 100: lag 9, where the norm is 10^-2.79
    assert f'cx="{64 + 632 * 9 / 100:g}"' in drawn
    assert ">horizon 9</text>" in drawn
    assert ">vanishing: the gradient reaches 9 steps back; at 100 steps 10^-31.0 of it is left</text>" in drawn
    assert ">10⁻²⁰</text>" in drawn
    assert "◆ horizon 9" in terminal_plot.render(hand.vanishing())
    assert "horizon" not in svg.render(hand.exploding()).replace("the points are the horizons", "")


def test_powers_of_ten_on_the_axis():
    assert power_ticks(-31.0, 1.0) == [-30.0, -25.0, -20.0, -15.0, -10.0, -5.0, 0.0]
    assert power_ticks(-2.3, 0.2) == [-2.0, -1.0, 0.0]
    assert [power_text(t) for t in (-31, -1, 0, 1, 2, -0.5)] == ["10⁻³¹", "10⁻¹", "1", "10", "10²", "0.32"]
    assert "1e-30" in terminal_plot.render(hand.vanishing(), unicode=False)


def test_a_bound_that_leaves_the_frame_is_not_drawn_and_said():
    xs = (0.0, 1.0, 2.0)
    measured = Curve("measured", "measured", xs, (0.0, -1.0, -2.0))
    far, near = Curve("bound", "bound", xs, (0.0, 50.0, 100.0)), Curve("bound", "bound", xs, (0.0, -0.5, -1.0))
    figure = LineFigure("t", "d.", "x", "y", (measured, far))
    assert [curve.name for curve in within(figure).curves] == ["measured"]
    assert within(figure).description == "d. Not drawn, since it leaves the frame: bound."
    assert within(replace(figure, curves=(measured, near))).curves == (measured, near)
    assert y_range(within(figure)) == (-2.0, 0.0)


def signed_map(**more):
    values = ((-0.4, -0.1), (-0.2, 0.3), (None, 0.4))
    return HeatFigure("Map", "d", "x", "y", "rate", ("a", "b"), ("1", "2", "3"), values, around_zero=True, **more)


def test_a_map_around_zero_has_a_bar_a_line_at_zero_and_two_colours():
    drawn, _ = svg.figure_svg(signed_map(), prefix="p")
    # -0.2 | 0.3 beside one another, -0.1 below 0.3; nothing borders on a cell without a value
    assert sign_changes(signed_map()) == [(0.5, 1.5, 0.5, 2.5)] or len(sign_changes(signed_map())) == 2
    assert 'class="contour"' in drawn
    assert 'class="cell c0"' in drawn
    assert 'class="cell c1"' in drawn
    for said in ("-0.4", "0", "0.4", "rate"):
        assert f">{said}</text>" in drawn
    flat, _ = svg.figure_svg(replace(signed_map(), around_zero=False), prefix="p")
    assert 'class="contour"' not in flat
    assert 'class="cell c1"' not in flat


def test_cells_known_from_below_only_are_hatched():
    beyond = ((False, False), (False, True), (False, False))
    drawn, _ = svg.figure_svg(signed_map(at_least=beyond), prefix="p")
    assert 'class="hatch"' in drawn
    assert "hatched: at least this" in drawn
    lines = terminal_plot.plot(signed_map(at_least=beyond), 40)
    assert ">" in lines[1]
    assert ">" not in lines[0] + lines[2]
    result = hand.sweep().results[0]
    horizons = hand.report("sweep", replace(result, settings={**result.settings, "value": "horizon"}))
    ((_, figure),) = view(horizons).figures()
    # gain 1.0 and above: the horizon of every seed is beyond T
    assert [all(row) for row in figure.at_least] == [False] * 5 + [True] * 6
    assert not figure.around_zero
    assert view(hand.sweep()).figures()[0][1].around_zero


def test_colour_in_a_terminal_repeats_what_the_letters_say():
    for make in DRAWN:
        plain, coloured = terminal_plot.render(make()), terminal_plot.render(make(), color=True)
        assert "\x1b[" in coloured
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("make", DRAWN)
def test_every_figure_has_a_name_that_the_option_knows(make):
    report = make()
    blocks = [block for section in view(report, verbose=True).sections for block in section.blocks]
    figures = [block for block in blocks if hasattr(block, "minor")]
    assert figures
    assert {figure.name for figure in figures} <= set(FIGURES[report.verb])


def test_every_name_in_the_views_is_one_that_the_option_knows():
    from gradscope.reports import views

    known = {name for names in FIGURES.values() for name in names}
    folder = Path(views.__file__).parent
    drawing = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    named = {name for text in drawing if "Figure(" in text for name in re.findall(r'\bname="([^"]*)"', text)}
    assert {"gradient", "map", "time-constants", "loss-map"} <= named <= known


def test_the_documents_list_every_figure():
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(\w+)` \| (`.*) \|$", page.split("### Pictures")[1], re.MULTILINE)
    assert {verb: set(re.findall(r"`([a-z-]+)`", said)) for verb, said in lines} == {
        verb: set(names) for verb, names in FIGURES.items()
    }


def test_one_figure_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["gradients", "rnn:hidden=4", "-T", "20"]
    assert run([*words, "--figure", "rank", "-o", "rank.svg"]) == 0
    drawn = (tmp_path / "rank.svg").read_text(encoding="utf-8")
    assert drawn.count('role="img"') == 1
    assert "How many directions survive" in drawn
    assert "number of directions" not in capsys.readouterr().out
    assert run([*words, "--figure", "heat"]) == 0
    assert "to step t up, from step i across" in capsys.readouterr().out
    assert run([*words, "--figure", "gates"]) == 0
    assert capsys.readouterr().err == "--figure gates: there is nothing of the kind in this result.\n"
    assert run([*words, "--figure", "hea"]) == 2
    assert "Did you mean 'heat'" in capsys.readouterr().err


def test_pictures_of_both_kinds_share_their_strokes():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    ((heading, figure),) = view(hand.vanishing()).figures()
    ax = Figure().subplots()
    figure_files.draw(ax, figure, heading)
    drawn, _ = svg.figure_svg(figure, prefix="p", heading=heading)
    strokes = re.findall(r'class="curve c(\d)" d="[^"]*"/><text[^>]*>([^<]*)</text>', drawn)
    lines = {str(line.get_label()): str(line.get_color()) for line in ax.get_lines()}
    assert [LIGHT_STROKES[int(i)] for i, _ in strokes] == [lines[name.replace("&apos;", "'")] for _, name in strokes]
    assert ax.get_title(loc="left").startswith("rnn\nvanishing: ")
    assert [label.get_text() for label in ax.get_yticklabels()][:1] == ["10⁻³⁰"]
