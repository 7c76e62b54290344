"""What ``gradscope.torch.watch`` costs a training loop: python -m benchmarks.watched_training.

Two equal networks train in turn for stretches of a hundred steps, one of them watched at one step of each, so that both
see the same machine; medians. The processor time of a watched step, in training steps, is what it costs where no core
is idle for the process that measures.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import gradscope.torch

STRETCH, ROUNDS = 100, 5


def training(kind: str, hidden: int, batch: int, steps: int, layers: int) -> tuple[Any, Callable[[int], None]]:
    """A recurrent module, and what trains it for some steps."""
    import torch

    torch.manual_seed(0)
    rnn: Any = getattr(torch.nn, kind)(64, hidden, num_layers=layers)
    head = torch.nn.Linear(hidden, 10)
    optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()])
    x, y = torch.randn(steps, batch, 64), torch.randint(10, (batch,))

    def train(count: int) -> None:
        for _ in range(count):
            loss = torch.nn.functional.cross_entropy(head(rnn(x)[0][-1]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return rnn, train


def costs(*network: Any) -> tuple[float, float, float]:
    """Seconds of a plain step; share that a watched stretch takes longer; processor time of the watching, in steps."""
    _, plain = training(*network)
    rnn, watched = training(*network)
    pairs = []
    with gradscope.torch.watch(rnn, every=STRETCH):
        for _ in range(ROUNDS + 1):
            pair = []
            for train in (plain, watched):
                started = time.perf_counter()
                train(STRETCH)
                pair.append(time.perf_counter() - started)
            pairs.append(pair)
    wall, wall_watched = (statistics.median(values) for values in zip(*pairs[1:], strict=True))
    pairs = []
    with gradscope.torch.watch(rnn, every=1, background=False):
        for _ in range(ROUNDS):
            pair = []
            for train in (plain, watched):
                started = time.process_time()
                train(1)
                pair.append(time.process_time() - started)
            pairs.append(pair)
    cpu, cpu_watched = (statistics.median(values) for values in zip(*pairs, strict=True))
    return wall / STRETCH, wall_watched / wall - 1, cpu_watched / cpu - 1


def main() -> None:
    """Print a table."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| network | batch | T | training step [ms] | every 100th watched | processor time [steps] |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind, hidden, batch, steps, layers in (
        ("RNN", 128, 32, 100, 1),
        ("GRU", 128, 32, 100, 1),
        ("LSTM", 128, 32, 100, 1),
        ("LSTM", 128, 128, 100, 2),
    ):
        plain, share, cpu = costs(kind, hidden, batch, steps, layers)
        layered = f"{kind} {hidden}" + (f", {layers} layers" if layers > 1 else "")
        print(f"| {layered} | {batch} | {steps} | {1000 * plain:.0f} | {100 * share:+.1f} % | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
