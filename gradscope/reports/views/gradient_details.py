"""What a gradients result knows beyond its rows: layers of a stack, the bottleneck, the influence of x_1."""

from __future__ import annotations

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Column, Sentence, Table
from gradscope.reports.numbers import fixed, log_value
from gradscope.reports.reading import number
from gradscope.reports.views.loss_map_table import loss_map_blocks


def further(result: Result) -> list[Block]:
    """Tables and sentences from the details and the summary's additions; none where there is nothing."""
    return [*_layers(result), *_bottleneck(result), *loss_map_blocks(result), *_influence(result)]


def _layers(result: Result) -> list[Block]:
    """How far gradients travel between layers: a line per pair, a column per lag."""
    held = plain(result.details.get("layer_blocks"))
    if not held:
        return []
    lags, norms = held["lag"], held["log10_norm"]
    n = len(norms[0])
    pairs = [(to, of) for to in range(n) for of in range(n) if of <= to]
    rows = tuple(
        (f"layer {to} from layer {of}", *(log_value(norms[i][to][of]) for i in range(len(lags)))) for to, of in pairs
    )
    columns = (Column("lag", "left"), *(Column(str(lag)) for lag in lags))
    return [Table("Layer by layer: log10 of the norm of d(layer a at T)/d(layer b at T-k)", columns, rows)]


def _bottleneck(result: Result) -> list[Block]:
    held = plain(result.details.get("bottleneck"))
    if not held:
        return []
    said = f"Between encoder and decoder passes a state of size {held['state_size']}; gradients of rank {held['rank']}"
    return [Sentence(f"{said} reach the encoder.")]


def _influence(result: Result) -> list[Block]:
    """Theory C08: what x_1 does to h_t, and whether what comes between dilutes it."""
    step, own = result.summary.get("influence_step"), number(result.summary.get("log10_influence"))
    if step is None or own is None:
        return []
    changed = [fixed(number(result.summary.get(f"log10_influence_{how}")), 2) for how in ("permuted", "rescaled")]
    said = f"x_1 reaches h_{step} with 10^{fixed(own, 2)}; as a control, with the inputs between them permuted "
    return [Sentence(f"{said}10^{changed[0]}, five times larger 10^{changed[1]}.")]
