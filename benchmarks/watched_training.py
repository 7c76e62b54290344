"""What ``gradscope.torch.watch`` costs a training loop: python -m benchmarks.watched_training.

Plain and watched stretches of a hundred steps, one of them watched, are timed in turn, so that both see the same
machine; medians. The processor time of a watched step, in training steps, is what it costs where no core is idle.
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import gradscope.torch

STRETCH, ROUNDS = 100, 5


def costs(kind: str, hidden: int, batch: int, steps: int, layers: int) -> tuple[float, float, float]:
    """Seconds of a plain step; share that a watched stretch takes longer; processor time of the watching, in steps."""
    import torch

    torch.manual_seed(0)
    rnn: Any = getattr(torch.nn, kind)(64, hidden, num_layers=layers)
    head = torch.nn.Linear(hidden, 10)
    optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()])
    x, y = torch.randn(steps, batch, 64), torch.randint(10, (batch,))

    def stretch() -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(STRETCH):
            loss = torch.nn.functional.cross_entropy(head(rnn(x)[0][-1]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started, time.process_time() - cpu

    plain, watched = [], []
    for _ in range(ROUNDS):
        plain.append(stretch())
        started, cpu = time.perf_counter(), time.process_time()
        with gradscope.torch.watch(rnn, every=STRETCH):
            stretch()
        watched.append((time.perf_counter() - started, time.process_time() - cpu))
    wall, cpu = (statistics.median(values) for values in zip(*plain, strict=True))
    wall_watched, cpu_watched = (statistics.median(values) for values in zip(*watched, strict=True))
    return wall / STRETCH, wall_watched / wall - 1, (cpu_watched - cpu) / (cpu / STRETCH)


def main() -> None:
    """Print a table."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| network | batch | T | training step [ms] | every 100th watched | processor time [steps] |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind, hidden, batch, steps, layers in (
        ("LSTM", 128, 32, 100, 1),
        ("GRU", 128, 32, 100, 1),
        ("RNN", 128, 32, 100, 1),
        ("LSTM", 128, 128, 100, 2),
    ):
        plain, share, cpu = costs(kind, hidden, batch, steps, layers)
        layered = f"{kind} {hidden}" + (f", {layers} layers" if layers > 1 else "")
        print(f"| {layered} | {batch} | {steps} | {1000 * plain:.0f} | {100 * share:+.1f} % | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
