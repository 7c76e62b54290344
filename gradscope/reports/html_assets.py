"""Style and the few lines of script of the HTML report; the page is complete without the script."""

from __future__ import annotations

from gradscope.reports.svg import DARK, LIGHT
from gradscope.reports.svg import STYLE as FIGURE_STYLE

STYLE = (
    f":root{{color-scheme:light dark;{LIGHT};--bad:#b3261e;--good:#1a7f37;--mixed:#8a5a00}}"
    f"@media(prefers-color-scheme:dark){{:root{{{DARK};--bad:#ff8a80;--good:#7ee787;--mixed:#f0c365}}}}"
    + """
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .2rem;border-top:1px solid var(--grid);
padding-top:1rem}
.sub,.made{font-size:.85rem;opacity:.85;margin:.1rem 0 .6rem;overflow-wrap:anywhere}
.verdict{font-size:1.1rem;font-weight:600;margin:.4rem 0}.verdict.bad{color:var(--bad)}.verdict.good{color:var(--good)}
.verdict.mixed{color:var(--mixed)}.warning{border-left:4px solid var(--mixed);padding-left:.6rem}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;
font-size:.9rem}
caption{text-align:left;font-weight:600;padding-bottom:.3rem}
th,td{white-space:pre-line;vertical-align:top;padding:.15rem .6rem;border-bottom:1px solid var(--grid)}
th{text-align:left;font-weight:600}.unit{display:block;font-weight:400;opacity:.85}
tbody th{font-weight:400}.r{text-align:right;white-space:nowrap}
tr.bad>*:first-child{box-shadow:inset 4px 0 var(--bad)}tr.mixed>*:first-child{box-shadow:inset 4px 0 var(--mixed)}
.heard{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
figure{margin:1rem 0;break-inside:avoid}figure svg{width:100%;height:auto;display:block}
@media screen and (max-width:40rem){.plot{overflow-x:auto}.plot svg{min-width:36rem}}
.readout{font-size:.85rem;min-height:1.5em;margin:.2rem 0;font-variant-numeric:tabular-nums}
figcaption{font-size:.9rem}details{margin:.3rem 0}summary{cursor:pointer}
pre{overflow-x:auto;padding:.6rem;border:1px solid var(--grid)}
:focus-visible{outline:3px solid var(--c0);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{position:static}
"""
    + FIGURE_STYLE
    + f"\n@media print{{:root{{{LIGHT}}}"
    "body{max-width:none;font-size:13px}.scroll{overflow:visible}table{font-size:.75rem}th,td{padding:.1rem .3rem}"
    ".readout,.skip,figcaption small,figure details{display:none}tr,.warning{break-inside:avoid}h2{break-after:avoid}}"
)

# Values under the pointer, or with the arrow keys when a figure has the focus; written into the line below it.
SCRIPT = """
"use strict";
document.querySelectorAll("figure[data-plot]").forEach(figure => {
  const curves = JSON.parse(figure.querySelector("script").textContent), svg = figure.querySelector("svg");
  const [left, width, low, high, top, bottom] = figure.dataset.plot.split(" ").map(Number), xs = curves[0].x;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("class", "axis"); svg.append(line);
  const power = figure.dataset.power || "";
  let at = -1;
  const nearest = (list, x) => list.reduce((best, v, i) => Math.abs(v - x) < Math.abs(list[best] - x) ? i : best, 0);
  const show = index => {
    at = Math.max(0, Math.min(xs.length - 1, index));
    const x = xs[at], px = left + (x - low) / (high - low) * width;
    line.setAttribute("d", `M${px} ${top}V${bottom}`);
    const value = c => { const v = c.y[nearest(c.x, x)]; return v === null ? "none" : power + v; };
    const said = curves.map(c => `${c.name} ${value(c)}`);
    figure.querySelector(".readout").textContent = `${figure.dataset.label} ${x}: ${said.join(", ")}`;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) / box.width * 720;
    show(nearest(xs, low + (px - left) / width * (high - low)));
  });
  svg.addEventListener("keydown", event => {
    const move = {ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9}[event.key];
    if (move) { show(at + move); event.preventDefault(); }
  });
  svg.addEventListener("focus", () => show(at < 0 ? 0 : at));
});
""".strip()
