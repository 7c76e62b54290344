"""Does the horizon before training say how long a delay a network learns? Trainings, and rank correlations.

``python examples/horizon_and_training.py`` reads the record beside it. ``--run FILE`` (needs torch, and an hour) makes
another: every start is measured on its task's own inputs before training, then trained afresh for longer and longer
delays until one is not learnt. Networks of 32 units; Adam 3e-3, 350 steps of 48 sequences, gradients clipped at 1.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import gradscope

RECORD = Path(__file__).with_suffix(".jsonl")
DELAYS = (4, 8, 16, 32, 64, 128, 256)
UNITS, BATCH, TRAINING_STEPS, LEARNING_RATE = 32, 48, 350, 3e-3
#: What could predict it: norm, threshold.
CANDIDATES = {
    "∂s/∂s at 1e-3": ("state", 1e-3),
    "∂h/∂h at 1e-1": ("h", 1e-1),
    "∂h/∂h at 1e-2": ("h", 1e-2),
    "∂h/∂h at 1e-3": ("h", 1e-3),
    "∂h/∂x at 1e-1": ("inputs", 1e-1),
    "∂h/∂x at 1e-2": ("inputs", 1e-2),
    "∂L/∂s at 1e-2": ("loss", 1e-2),
    "∂L/∂s at 1e-3": ("loss", 1e-3),
}
STARTS = {
    "rnn": (
        "pytorch",
        "gain 0.6",
        "gain 0.8",
        "gain 1",
        "gain 1.2",
        "gain 1.5",
        "orthogonal 0.9",
        "orthogonal",
        "identity",
    ),
    "lstm": ("pytorch", "bias -2", "bias 0", "bias 1", "bias 2", "bias 3", "bias 4", "orthogonal", "chrono 64"),
    "gru": ("pytorch", "bias -2", "bias 0", "bias 1", "bias 2", "bias 3", "bias 4", "orthogonal", "chrono 64"),
}


def recall(rng: np.random.Generator, batch: int, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of four symbols stood first, ``delay`` steps ago? Other symbols come after it; a flag marks the first."""
    symbols = rng.integers(0, 4, (batch, delay + 1))
    x = np.zeros((batch, delay + 1, 5))
    np.put_along_axis(x, symbols[..., None], 1.0, axis=2)
    x[:, 0, 4] = 1.0
    return x, symbols[:, 0]


def adding(rng: np.random.Generator, batch: int, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Add two marked numbers, the first and one of the later half (Hochreiter and Schmidhuber 1997, §5.4)."""
    x = np.zeros((batch, delay + 1, 2))
    x[..., 0] = rng.uniform(0, 1, (batch, delay + 1))
    second = rng.integers((delay + 1) // 2, delay + 1, batch)
    rows = np.arange(batch)
    x[:, 0, 1] = x[rows, second, 1] = 1.0
    return x, x[:, 0, 0] + x[rows, second, 0]


TASKS = {"recall": (recall, 5, 4), "adding": (adding, 2, 1)}


def start(cell: str, how: str, task: str, seed: int) -> tuple[Any, Any]:
    """A recurrent module and its head, drawn as the start says."""
    import torch

    torch.manual_seed(1000 * seed + 7)
    _, width, outputs = TASKS[task]
    rnn = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](width, UNITS, batch_first=True)
    word, _, number = how.partition(" ")
    with torch.no_grad():
        if word != "pytorch":
            torch.nn.init.normal_(rnn.weight_ih_l0, std=1 / math.sqrt(width))
            rnn.bias_ih_l0.zero_()
            rnn.bias_hh_l0.zero_()
            for W in rnn.weight_hh_l0.split(UNITS):
                torch.nn.init.normal_(W, std=1 / math.sqrt(UNITS))
                if word == "orthogonal":
                    torch.nn.init.orthogonal_(W)
                if word == "identity":
                    torch.nn.init.eye_(W)
        if word in ("gain", "orthogonal") and number:
            rnn.weight_hh_l0.mul_(float(number))
        if word == "bias":
            rnn.bias_ih_l0[UNITS : 2 * UNITS] += float(number)
        if word == "chrono":
            times = torch.log(torch.empty(UNITS).uniform_(1, float(number) - 1))
            rnn.bias_ih_l0[UNITS : 2 * UNITS] += times
            if cell == "lstm":
                rnn.bias_ih_l0[:UNITS] -= times
    return rnn, torch.nn.Linear(UNITS, outputs)


def reach(log10: list[float | None], threshold: float) -> int:
    """The largest lag at or above a threshold; one beyond the last where every later lag is."""
    above = [lag for lag, value in enumerate(log10) if value is not None and value >= math.log10(threshold)]
    return (above[-1] if above else 0) + (bool(above) and above[-1] == len(log10) - 1)


def predictions(rnn: Any, head: Any, task: str, *, steps: int = 256) -> dict[str, float]:
    """Every candidate, measured on 4 sequences of the task."""
    x, _ = TASKS[task][0](np.random.default_rng(0), 4, steps - 1)
    weights = {f"rnn.{name}": value.detach().numpy().astype(float) for name, value in rnn.state_dict().items()}
    weights |= {"head.weight": head.weight.detach().numpy(), "head.bias": head.bias.detach().numpy()}
    loss = "mse" if task == "adding" else "cross-entropy"
    (result,) = gradscope.gradients(weights, inputs=x, loss=loss).results
    (sensitivity,) = gradscope.gradients(weights, inputs=x, wrt="inputs").results
    columns = {
        name: [row.get(key) for row in result.rows()]
        for name, key in (("state", "log10_norm"), ("h", "log10_norm_h"), ("loss", "log10_dloss_dstate"))
    }
    if all(value is None for value in columns["h"]):
        columns["h"] = columns["state"]
    columns["inputs"] = [row.get("log10_norm") for row in sensitivity.rows()]
    found: dict[str, float] = {name: reach(columns[column], at) for name, (column, at) in CANDIDATES.items()}
    (generated,) = gradscope.gradients(weights, steps=steps, batch=4, loss="none").results
    norms = [
        row.get("log10_norm_h") if row.get("log10_norm_h") is not None else row.get("log10_norm")
        for row in generated.rows()
    ]
    found["∂h/∂h at 1e-2, generated inputs"] = reach(norms, 1e-2)
    found["rate"] = -1.0 / min(result.summary["log10_rate"] or -1e-9, -1e-9)
    return found


def train(rnn: Any, head: Any, task: str, delay: int, seed: int) -> float:
    """Share of fresh sequences answered right (recall), or of the variance explained (adding), after training."""
    import torch

    make, rng = TASKS[task][0], np.random.default_rng((seed, delay))
    parameters = [*rnn.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    dtype = torch.float32 if task == "adding" else torch.long

    def answers(batch: int) -> tuple[Any, Any]:
        x, target = make(rng, batch, delay)
        out = head(rnn(torch.from_numpy(x).float())[0][:, -1])
        return (out[:, 0] if task == "adding" else out), torch.from_numpy(target).to(dtype)

    for _ in range(TRAINING_STEPS):
        out, target = answers(BATCH)
        loss = (
            torch.nn.functional.mse_loss(out, target)
            if task == "adding"
            else torch.nn.functional.cross_entropy(out, target)
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    with torch.no_grad():
        out, target = answers(512)
        if task == "adding":
            return float(1 - (out - target).square().mean() / target.var())
        return float((out.argmax(1) == target).float().mean())


def run(path: Path, task: str, seeds: int) -> None:
    """One line per start and seed, appended; a run that was cut off goes on."""
    import torch

    torch.set_num_threads(1)
    done = {(r["task"], r["cell"], r["start"], r["seed"]) for r in records(path)} if path.exists() else set()
    for seed in range(seeds):
        for cell, starts in STARTS.items():
            for how in starts:
                if (task, cell, how, seed) in done:
                    continue
                begun, scores = time.time(), {}
                predicted = predictions(*start(cell, how, task, seed), task)
                for delay in DELAYS:
                    scores[delay] = round(train(*start(cell, how, task, seed), task, delay, seed), 4)
                    if scores[delay] < 0.9:
                        break
                learnt = max((delay for delay, score in scores.items() if score >= 0.9), default=2)
                line = {"task": task, "cell": cell, "start": how, "seed": seed, "learnt": learnt, "scores": scores}
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line | {"predicted": predicted}, ensure_ascii=False) + "\n")
                print(f"{task} {cell} {how} seed {seed}: {learnt} ({time.time() - begun:.0f} s)", flush=True)


def records(path: Path) -> list[dict[str, Any]]:
    """Every line of a record."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, ties at their mean rank."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """95 % by resampling networks."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        chosen = rng.integers(0, len(a), len(a))
        if len(set(a[chosen])) > 1 and len(set(b[chosen])) > 1:
            drawn.append(rank_correlation(a[chosen], b[chosen]))
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def summarise(path: Path) -> None:
    """A line per task and candidate: all networks, each family, and the factor between horizon and learnt delay."""
    kept = records(path)
    for task in dict.fromkeys(r["task"] for r in kept):
        mine = [r for r in kept if r["task"] == task]
        trainings = sum(len(r["scores"]) for r in mine)
        print(f"{task}: {len(mine)} networks, {trainings} trainings")
        print(f"| {'predictor':32} | all, 95 % | rnn | lstm | gru | horizon / delay learnt, by family |")
        print("|---|---|---:|---:|---:|---|")
        learnt = np.array([r["learnt"] for r in mine], dtype=float)
        cells = np.array([r["cell"] for r in mine])
        beyond = [r for r in mine if r["learnt"] > r["predicted"]["∂h/∂h at 1e-3"]]
        for name in mine[0]["predicted"]:
            values = np.array([r["predicted"][name] for r in mine], dtype=float)
            low, high = interval(values, learnt)
            each = [
                f"{rank_correlation(values[cells == c], learnt[cells == c]):.2f}"
                for c in STARTS
                if (cells == c).sum() > 2
            ]
            factors = [
                f"{np.median(values[cells == c] / learnt[cells == c]):.2g}" for c in STARTS if (cells == c).any()
            ]
            overall = f"{rank_correlation(values, learnt):.2f} ({low:.2f} to {high:.2f})"
            print(f"| {name:32} | {overall} | {' | '.join(each)} | {', '.join(factors)} |")
        print(f"\nLearnt a delay beyond the reach of ∂h/∂h at 1e-3: {len(beyond)} of {len(mine)} networks.\n")


def draw(path: Path, target: Path, predictor: str = "∂h/∂h at 1e-2") -> None:
    """Delay learnt against the predictor, a row of points per family, as SVG without any library."""
    size, colours = 420, {"rnn": "#1b6ca8", "lstm": "#c1440e", "gru": "#3b7d23"}

    def place(value: float) -> float:
        return 40 + (size - 60) * (math.log2(max(value, 2)) - 1) / 7.5

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" font-family="sans-serif" font-size="11">'
    ]
    parts.append("<title>Delay learnt against the horizon of the h corner before training</title>")
    parts.append(f'<rect width="{size}" height="{size}" fill="white"/>')
    parts.append(
        f'<path d="M{place(2)} {size - place(2)}L{place(256)} {size - place(256)}" stroke="#999" fill="none"/>'
    )
    for tick in (2, *DELAYS):
        at = place(tick)
        parts.append(f'<text x="{at}" y="{size - 22}" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="32" y="{size - at + 4}" text-anchor="end">{tick}</text>')
    rng = np.random.default_rng(0)
    for record in records(path):
        if record["task"] == "recall":
            x, y = (
                place(v) + shift
                for v, shift in zip(
                    (record["predicted"][predictor], record["learnt"]), rng.uniform(-5, 5, 2), strict=True
                )
            )
            parts.append(
                f'<circle cx="{x:.1f}" cy="{size - y:.1f}" r="4" fill="{colours[record["cell"]]}" fill-opacity=".7"/>'
            )
    for i, (cell, colour) in enumerate(colours.items()):
        parts.append(f'<text x="60" y="{30 + 15 * i}" fill="{colour}">{cell}</text>')
    parts.append(f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">{predictor} before training (steps)</text>')
    parts.append(
        f'<text transform="translate(11 {size / 2}) rotate(-90)" text-anchor="middle">longest delay learnt</text></svg>'
    )
    target.write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    """Summarise the record, or make one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, metavar="FILE")
    parser.add_argument("--task", choices=tuple(TASKS), default="recall")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    if options.run is not None:
        run(options.run, options.task, options.seeds)
    elif options.draw is not None:
        draw(RECORD, options.draw)
    else:
        summarise(RECORD)


if __name__ == "__main__":
    main()
