"""The article's product for the gradient of W_hh, factor by factor, beside the truth; and which factor decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Column, Sentence, Table
from gradscope.reports.numbers import fixed, is_null, log_value, significant
from gradscope.reports.reading import has, picked, shown_rows
from gradscope.reports.views.direct_path_tables import direct_blocks

# The factors in the article's order: the field, its head in the table, and its name in a sentence (with its verb).
_FACTORS = (
    ("log10_dloss_dy", "dL/dy", "dL/dy", "s"),
    ("log10_dy_dh", "dy/dh", "dy/dh_T", "s"),
    ("log10_slopes", "slopes", "the slopes", ""),
    ("log10_power", "W^k", "W^k", "s"),
    ("log10_h_prev", "h_(i-1)", "h_(i-1)", "s"),
)
#: Columns that stand in a table of their own.
FACTOR_COLUMNS = (*(name for name, *_ in _FACTORS), "log10_article", "log10_article_corrected")
#: Decades below which a factor decides nothing.
_SMALL = 0.05
#: Numbers of a vector on one line of the worked row.
_A_LINE = 5


def factor_blocks(result: Result, *, verbose: bool = False) -> list[Block]:
    """The table, what decides in words, the exact zero of the last copy; with ``verbose`` rows worked out."""
    if not any(has(result, name) for name, *_ in _FACTORS):
        return direct_blocks(result, verbose=verbose)
    rows = [row for row in shown_rows(result) if int(plain(result.columns["lag"][row])) < _steps(result)]
    if not rows:
        return []
    blocks: list[Block] = [_table(result, rows, verbose), *_deepest(result), *_last_copy(result)]
    worked = plain(result.details.get("worked_rows")) or []
    if worked and not verbose:
        hint = "-v writes one row out with its matrices, to be redone with a pocket calculator"
        blocks.append(Sentence(f"{hint}; --lags 0,1,3 chooses which."))
    elif worked:
        blocks += [Sentence("\n".join(_worked(result, held, again=held is not worked[0])), "code") for held in worked]
    return blocks


def _steps(result: Result) -> int:
    return int(plain(result.settings.get("steps")) or 0)


def _table(result: Result, rows: Sequence[int], verbose: bool) -> Table:
    columns = [Column("lag")]
    texts = [[str(lag) for lag in picked(result, "lag", rows)]]
    caption = "The article's product, factor by factor (log10; copy of W_hh at step i = T - lag)"
    for name, title, *_ in _FACTORS:
        values = picked(result, name, rows)
        if not verbose and title in ("dL/dy", "dy/dh"):
            caption += f"; {title} {log_value(values[0])} throughout"  # loss and readout are the same at every lag
            continue
        columns.append(Column(title))
        texts.append([log_value(value) for value in values])
    for name, title, meaning in (
        ("log10_article", "article", "their sum, the article's product"),
        ("log10_article_corrected", "corrected", "with the slope of step i, which the article drops"),
        ("log10_dloss_dweight", "truth", "norm of dL/dW_hh, by backpropagation"),
    ):
        columns.append(Column(title, "right", 0, meaning))
        texts.append([log_value(value) for value in picked(result, name, rows)])
    columns.append(Column("what decides", "left", 3))
    texts.append([_decides(factors) for factors in _factors_of(result, rows)])
    return Table(caption, tuple(columns), tuple(zip(*texts, strict=True)))


def _factors_of(result: Result, rows: Sequence[int]) -> list[list[float | None]]:
    return [list(values) for values in zip(*(picked(result, name, rows) for name, *_ in _FACTORS), strict=True)]


def _decides(values: Sequence[float | None]) -> str:
    """Which factor takes most decades, and which gives most back.

    >>> _decides([0.05, 0.45, -6.7, 1.8, -0.4]), _decides([0.0, 0.0, 0.0, 0.0, 0.0]), _decides([0, 1, -2, None, 0.1])
    ('slopes kill (-6.7), W^k saves (+1.8)', 'nothing', 'W^k = 0')
    """
    gone = [title for (_, title, *_), value in zip(_FACTORS, values, strict=True) if is_null(value)]
    if {"dL/dy", "dy/dh"} <= {*gone}:
        return "-"  # there is no loss
    if gone:
        return ", ".join(f"{title} = 0" for title in gone)
    named = [(float(value or 0), factor) for factor, value in zip(_FACTORS, values, strict=True)]
    (least, killer), (most, saver) = min(named, key=lambda pair: pair[0]), max(named, key=lambda pair: pair[0])
    said = []
    if least < -_SMALL:
        said.append(f"{killer[1]} kill{killer[3]} ({fixed(least, 1)})")
    if most > _SMALL:
        said.append(f"{saver[1]} saves ({fixed(most, 1, sign=True)})".replace("slopes saves", "slopes save"))
    return ", ".join(said) or "nothing"


def _deepest(result: Result) -> list[Block]:
    """The largest lag with a product, in a sentence."""
    every = list(range(result.n_rows))
    article = picked(result, "log10_article", every)
    known = [row for row in every if not is_null(article[row])]
    if not known:
        return [Sentence("The article's product needs a loss and a W^k that is not zero; here a factor is missing.")]
    row = known[-1]
    lag = picked(result, "lag", [row])[0]
    (factors,) = _factors_of(result, [row])
    takes = [(float(v), f[2], f[3]) for f, v in zip(_FACTORS, factors, strict=True) if v is not None]
    (least, killer, s), (most, saver, s2) = min(takes), max(takes)
    said = f"At lag {lag} "
    said += f"{killer} take{s} {fixed(-least, 1)} decades" if least < -_SMALL else "no factor takes anything"
    said += f", {saver} give{s2} {fixed(most, 1)}" if most > _SMALL else ""
    corrected, truth = (picked(result, f"log10_{name}", [row])[0] for name in ("article_corrected", "dloss_dweight"))
    said += f": the article's product is 10^{fixed(article[row], 2)}"
    if not is_null(corrected):
        said += f", 10^{fixed(corrected, 2)} with the slope of step i that it drops"
    if not is_null(truth):
        said += f", the truth 10^{fixed(truth, 2)}"
    said += "."
    if not is_null(truth) and not is_null(corrected):
        # Every other factor is taken at its largest, so that only the mean of the slopes can understate.
        said += (
            " The truth is larger: units whose slopes exceed the mean carry it."
            if truth > corrected
            else " The truth is smaller: the factors' largest directions do not line up."
        )
    return [Sentence(said)]


def _last_copy(result: Result) -> list[Block]:
    """Why the gradient of the oldest copy is exactly zero."""
    lags = [int(lag) for lag in picked(result, "lag", range(result.n_rows))]
    oldest = _steps(result) - 1
    if oldest not in lags:
        return []
    row = [lags.index(oldest)]
    names = ("log10_slopes", "log10_h_prev", "log10_dloss_dweight")
    slopes, h_prev, truth = (picked(result, name, row)[0] for name in names)
    if is_null(slopes) or not is_null(h_prev) or not is_null(truth):
        return []
    said = f"At lag {oldest} the gradient is exactly zero: the copy of W_hh used at step 1 multiplies h_0 = 0."
    return [Sentence(f"{said} --state normal starts elsewhere.")]


def _worked(result: Result, held: Mapping[str, Any], *, again: bool) -> list[str]:
    """Every number that one row needs, six digits each; ``again`` leaves out what stands in the first one."""
    k, i = int(held["lag"]), int(held["step"])
    row = [[int(lag) for lag in picked(result, "lag", range(result.n_rows))].index(k)]
    at = {name: picked(result, name, row)[0] for name in result.columns if name.startswith("log10_")}
    lines = [f"Lag {k}, the copy of W_hh used at step i = {i}, by hand:"]
    if not again:
        lines += _vector("dL/dy", held["dloss_dy"], f"length {_size(at['log10_dloss_dy'])}")
        lines += _matrix("W_hy", held["W_hy"], f"spectral norm {_size(at['log10_dy_dh'])}")
    slopes = {int(step): values for step, values in held["slopes"].items()}
    for step in sorted(slopes, reverse=True):
        remark = f"mean {_six(math.fsum(slopes[step]) / len(slopes[step]))}"
        lines += _vector(f"phi'_{step}", slopes[step], remark + (" (the one that the article drops)" * (step == i)))
    lines += [] if again else _matrix("W", held["W"], "")
    lines += _matrix(f"W^{k}", held["W_power"], f"spectral norm {_size(at['log10_power'])}")
    lines += _vector(f"h_{i - 1}", held["h_prev"], f"length {_size(at['log10_h_prev'])}")
    means = [math.fsum(slopes[step]) / len(slopes[step]) for step in sorted(slopes, reverse=True)]
    product = " * ".join(
        [_size(at["log10_dloss_dy"]), _size(at["log10_dy_dh"])]
        + [_six(mean) for mean in means[:-1]]
        + [_size(at["log10_power"]), _size(at["log10_h_prev"])]
    )
    last = f"times {_six(means[-1])}, the slope of step {i}"
    lines += [
        f"article     {product}",
        f"            = {_size(at['log10_article'])}, log10 {log_value(at['log10_article'])}",
    ]
    lines += [f"corrected   {last}: log10 {log_value(at['log10_article_corrected'])}"]
    lines += [f"truth       d_{i + k} = phi'_{i + k} * (W_hy^T dL/dy)"]
    if k:
        lines += [f"            d_(j-1) = phi'_(j-1) * (W^T d_j), down to j - 1 = {i}; * is unit by unit"]
    truth = log_value(at["log10_dloss_dweight"])
    lines += _matrix("dL/dW", held["dloss_dweight"], f"= d_{i} h_{i - 1}^T, log10 {truth}")
    return lines


def _six(value: float) -> str:
    return significant(value, 6)


def _size(log10: float | None) -> str:
    return "0" if log10 is None else _six(10.0**log10)


def _vector(name: str, values: Sequence[float], remark: str) -> list[str]:
    parts = [values[start : start + _A_LINE] for start in range(0, len(values), _A_LINE)]
    return _matrix(name, parts, remark)


def _matrix(name: str, rows: Sequence[Sequence[float]], remark: str) -> list[str]:
    lines = ["".join(f"{_six(value):>13}" for value in row) for row in rows]
    heads = [f"{name:<10}", *[" " * 10] * (len(lines) - 1)]
    found = [head + line for head, line in zip(heads, lines, strict=True)]
    return found + ([f"{'':<12}{remark}"] if remark else [])
