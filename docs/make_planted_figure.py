"""Draw docs/images/planted_run.svg: python docs/make_planted_figure.py (needs torch).

Runs the planted run of docs/in-the-training-loop.md as it stands there, and draws what a monitor shows of it (the norm
of ∂L/∂W_hh) above what was lost (how far gradients reach).
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
WIDTH, PANEL, LEFT, TOP = 560, 170, 60, 34


def planted_rows() -> list[dict[str, Any]]:
    """The rows of run.jsonl, from the block of the page that writes it."""
    import torch

    import gradscope.torch

    page = (DOCS / "in-the-training-loop.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (block,) = [text for text in blocks if 'path="run.jsonl", need=40' in text]
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            names: dict[str, Any] = {"torch": torch, "gradscope": gradscope}
            exec(compile(block, "page", "exec"), names)
        finally:
            os.chdir(here)
    return list(names["watched"].rows)


def panel(top: float, title: str, low: float, high: float, ticks: list[float], steps: list[float]) -> list[str]:
    """A frame with its title, and horizontal lines at the ticks."""
    parts = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>']
    for tick in ticks:
        y = height(tick, low, high, top)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [f'<text x="{across(step)}" y="{top + PANEL + 16}" text-anchor="middle">{step:g}</text>' for step in steps]
    return parts


def across(step: float) -> float:
    """Where a training step stands."""
    return LEFT + (WIDTH - LEFT - 20) * step / 400


def height(value: float, low: float, high: float, top: float) -> float:
    """Where a value stands in a panel."""
    return top + PANEL * (high - value) / (high - low)


def line(points: list[tuple[float, float]], colour: str, name: str) -> list[str]:
    """A curve with its name at its last point."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    x, y = points[-1]
    return [
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{x}" y="{y - 6:.1f}" fill="{colour}" text-anchor="end">{name}</text>',
    ]


def draw(rows: list[dict[str, Any]]) -> str:
    """Both panels."""
    second, ticks = TOP + PANEL + 60, [0.0, 100.0, 200.0, 300.0, 400.0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {second + PANEL + 40}" '
        'font-family="sans-serif" font-size="11">',
        "<title>Long lags die while the norm of the total gradient stays flat</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    norms = [10 ** row["log10_dloss_dweight_total"] for row in rows]
    high = 0.1 * math.ceil(10 * max(norms))
    shown = [0.1 * i for i in range(round(10 * high) + 1)]
    parts += panel(TOP, "What a monitor shows: ‖∂L/∂W_hh‖", 0.0, high, shown, ticks)
    steps = [across(row["step"]) for row in rows]
    parts += line([(x, height(y, 0.0, high, TOP)) for x, y in zip(steps, norms, strict=True)], "#1b6ca8", "")
    parts += panel(
        second, "What was lost: steps back that gradients reach (60 is all)", 0.0, 64.0, [0, 20, 40, 60], ticks
    )
    for name, colour, said in (("horizon", "#c1440e", "horizon"), ("horizon_h", "#3b7d23", "of h")):
        reach = [60.0 if row[f"{name}_censored"] else float(row[name]) for row in rows]
        points = [
            (across(row["step"]), height(value, 0.0, 64.0, second)) for row, value in zip(rows, reach, strict=True)
        ]
        parts += line(points, colour, said) if name == "horizon" else line(points, colour, "")
        if name == "horizon_h":
            x, y = points[-1]
            parts.append(f'<text x="{x}" y="{y + 14:.1f}" fill="{colour}" text-anchor="end">{said}</text>')
    need = height(40.0, 0.0, 64.0, second)
    parts.append(f'<path d="M{LEFT} {need:.1f}H{WIDTH - 20}" stroke="#666" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{LEFT + 6}" y="{need - 5:.1f}" fill="#666">need=40</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{second + PANEL + 34}" text-anchor="middle">training step</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (DOCS / "images" / "planted_run.svg").write_text(draw(planted_rows()), encoding="utf-8")
