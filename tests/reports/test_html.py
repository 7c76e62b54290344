"""The HTML page: self-contained, small, well nested, accessible, and alive in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import hand_made_reports as hand
import pytest

from gradscope.reports import formats
from gradscope.reports.html import MOST_BYTES

VOID = {"meta", "link", "br", "path", "rect", "circle"}


class Nesting(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.refs, self.tags, self.text = [], [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            elif key == "aria-labelledby":
                self.refs += value.split()
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parsed(page):
    nesting = Nesting()
    nesting.feed(page)
    nesting.close()
    return nesting


@pytest.mark.parametrize("make", hand.EVERY)
def test_the_page_is_well_nested_self_contained_and_small(make):
    page = formats.render(make(), "html")
    nesting = parsed(page)
    assert nesting.open == []
    assert len(nesting.ids) == len(set(nesting.ids))
    assert set(nesting.refs) <= set(nesting.ids)
    assert len(page.encode()) < MOST_BYTES
    for tag, attrs in nesting.tags:
        assert tag not in ("img", "iframe", "object", "embed")
        assert "src" not in attrs
        assert attrs.get("href", "data:,") in ("data:,", "#main")
        assert not [key for key in attrs if key.startswith("on")]
    assert not re.search(r"https?://|@import|url\(", page.replace("http://www.w3.org/2000/svg", ""))


def test_the_verdict_is_the_first_sentence_and_every_figure_has_a_table():
    page = formats.render(hand.vanishing(), "html")
    nesting = parsed(page)
    assert page.index('<p class="verdict bad"><strong>rnn</strong>: vanishing: the gradient reaches 9') < page.index(
        "<main"
    )
    figures = [tag for tag, _ in nesting.tags if tag == "figure"]
    summaries = [tag for tag, _ in nesting.tags if tag == "summary"]
    assert len(figures) == len(summaries) == 2
    assert nesting.text.count("The values as a table") == 2
    heads = [attrs for tag, attrs in nesting.tags if tag == "th"]
    assert all(attrs.get("scope") in ("col", "row") for attrs in heads)


def test_a_name_cannot_break_out_of_the_page():
    nasty = '</script><script>alert(1)</script><img src=x onerror=alert(1)>"\x00'
    page = formats.render(hand.report("gradients", hand.gradients_result(nasty), hand.gradients_result("b")), "html")
    assert parsed(page).open == []
    assert "<img" not in page
    assert "alert(1)</script>" not in page
    held = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert json.loads(held[0])[0]["name"].startswith("</script>")


def test_long_runs_and_many_sources_stay_small():
    long = hand.report("gradients", hand.gradients_result(steps=4000, rate=-0.01, lags="0:4000:1"))
    many = hand.report("gradients", *(hand.gradients_result(f"net{i}", steps=20) for i in range(90)))
    for report in (long, many):
        page = formats.render(report, "html")
        assert len(page.encode()) < MOST_BYTES
        assert parsed(page).open == []
    assert "rows; all in CSV or JSON" in formats.render(long, "html")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000",
]  # fmt: skip


def opened(page, tmp_path, *options):
    path = tmp_path / "page.html"
    path.write_text(page)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_opens_the_page_without_a_word_on_the_console_and_shows_values(tmp_path):
    page = formats.render(hand.vanishing(), "html")
    act = """<script>
    const svg = document.querySelector("figure[data-plot] svg"), key = k =>
      svg.dispatchEvent(new KeyboardEvent("keydown", {key: k, cancelable: true}));
    svg.focus(); key("End"); key("ArrowLeft"); key("PageDown");
    document.body.append(Object.assign(document.createElement("p"), {id: "seen",
      textContent: document.querySelector(".readout").textContent}));
    document.body.append(Object.assign(document.createElement("p"), {id: "wide",
      textContent: document.documentElement.scrollWidth <= innerWidth}));
    </script>"""
    dom = opened(page.replace("</body>", act + "</body>"), tmp_path, "--dump-dom", "--window-size=1000,800")
    seen = re.search(r'<p id="seen">(.*?)</p>', dom)[1]
    # End is lag 100, one to the left 99, ten back 89; 10^(-0.31 k) there is -27.59
    assert seen.startswith("lag k (steps back) 89: measured 10^-27.59, theory (the article's estimate) 10^-28.142")
    assert '<p id="wide">true</p>' in dom


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_it_on_a_phone_too(tmp_path):
    act = """<script>document.body.append(Object.assign(document.createElement("p"), {id: "wide",
      textContent: document.documentElement.scrollWidth <= innerWidth}));</script>"""
    page = formats.render(hand.ladder(), "html").replace("</body>", act + "</body>")
    shot = tmp_path / "phone.png"
    dom = opened(page, tmp_path, "--dump-dom", "--window-size=500,800")
    assert '<p id="wide">true</p>' in dom
    opened(page, tmp_path, f"--screenshot={shot}", "--window-size=500,800")
    assert shot.read_bytes().startswith(b"\x89PNG")
