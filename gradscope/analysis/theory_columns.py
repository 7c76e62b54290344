"""The theory columns of a gradients row: estimate, eigenvalue rate, bound; from weights and slopes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.contracting import EVERY_INPUT, LIKE_THESE, Proof, prove_contraction
from gradscope.analysis.slopes import Anchor, LayerSlopes
from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.independent import Independent
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.numerics.tape import chunks
from gradscope.sources.kinds import (
    BidirectionalSource,
    EncoderDecoderSource,
    IndependentSource,
    JacobianSource,
    NetworkSource,
)
from gradscope.sources.source import Source
from gradscope.theory.bounds import Bound, block_norms, product_bounds, step_norm_bounds, stepwise_bound, tightest
from gradscope.theory.certificate import certify
from gradscope.theory.closed_forms import article_estimate, eigen_estimate, sums_by_lag
from gradscope.theory.composition_bounds import decoder_step_bounds, feedback_gain, stack_bound
from gradscope.theory.contraction import Contraction
from gradscope.theory.power_norms import PowerNorms, power_norms
from gradscope.theory.radius import spectral_radius

#: (T + 1, *batch_shape) to (T + 1,): over the samples that were measured.
Mean: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True)
class TheoryQuestion:
    """What theory is asked: a case, its lags counted from an anchor.

    Attributes
    ----------
    case : Case
    anchor : {"end", "start"}
    gathered : list of LayerSlopes
        Along the run, bottom layer first; empty where there is no network.
    mean : callable
        (T + 1, *batch_shape) to the column of the samples that were measured.
    powers : PowerNorms or None
        The norms ‖W^k‖₂ of a single layer, where they are known already.
    """

    case: Case
    anchor: Anchor
    gathered: list[LayerSlopes]
    mean: Mean
    powers: PowerNorms | None = None

    @property
    def n_steps(self) -> int:
        """T."""
        return self.case.tape.n_steps


@dataclass(frozen=True)
class TheoryColumns:
    """log10 per lag, batch mean taken; NaN where a column has no meaning, −inf where it is exactly zero."""

    name: str
    estimate: Array
    eigen: Array
    bound: Array
    bound_name: str | None
    certificate: float | None = None
    contraction: Proof | None = None
    contracts_for: str | None = None


def theory_columns(asked: TheoryQuestion) -> TheoryColumns:
    """Closed form, eigenvalue rate and input-independent bound of a case, from its weights and gathered slopes."""
    return _theory_of(asked.case.source, asked)


def no_theory(n_steps: int, why: str) -> TheoryColumns:
    """Columns of nulls, and why."""
    nothing = np.full(n_steps + 1, np.nan)
    return TheoryColumns(why, nothing, nothing, nothing, None)


@singledispatch
def _theory_of(source: Source, asked: TheoryQuestion) -> TheoryColumns:
    raise TypeError(f"no theory of a {type(source).__name__}")


@_theory_of.register
def _of_jacobians(source: JacobianSource, asked: TheoryQuestion) -> TheoryColumns:
    return no_theory(asked.n_steps, "none: only Jacobians are known")


@_theory_of.register(NetworkSource)
@_theory_of.register(BidirectionalSource)
def _of_layers(source: Source, asked: TheoryQuestion) -> TheoryColumns:
    case, network = asked.case, asked.case.network
    assert network is not None  # only ready Jacobians and encoder–decoders have none
    layers = [_layer_columns(cell, slopes, asked) for cell, slopes in zip(network.layers, asked.gathered, strict=True)]
    if len(layers) == 1:
        return _with_contraction(layers[0], case)
    # A stack is block triangular: the estimate is that of its diagonal blocks; the bound composes block norms.
    estimate = np.max([layer.estimate for layer in layers], axis=0)
    eigen = np.max([layer.eigen for layer in layers], axis=0)
    bound = stack_bound(network.layers, asked.n_steps, case.initial_bound, asked.anchor, mask_gain=network.mask_gain)
    name = "norms of the stack's block norms" if np.isfinite(bound).all() else None
    # What couples layers is bounded, so a stack whose layers all contract (in a norm each) vanishes as well.
    certificates = [layer.certificate for layer in layers]
    certificate = None if None in certificates else max(c for c in certificates if c is not None)
    estimate_name = f"the largest over layers of {layers[0].name}"
    return _with_contraction(TheoryColumns(estimate_name, estimate, eigen, bound, name, certificate), case)


def _with_contraction(columns: TheoryColumns, case: Case) -> TheoryColumns:
    """Add what is proven of gated layers; for every input it is a bound like any other."""
    proven = prove_contraction(case)
    if proven is None or proven.here is None:
        return columns
    if proven.every is None:
        return replace(columns, contraction=proven.here, contracts_for=LIKE_THESE)
    name = "contraction in a weighted norm" if isinstance(proven.every, Contraction) else "contraction layer by layer"
    found = Bound(name, proven.every.log10_bound(case.tape.n_steps))
    known = columns.bound_name is not None
    bound, name = tightest([found, Bound(str(columns.bound_name), columns.bound)] if known else [found])
    return replace(
        columns,
        bound=bound,
        bound_name=name,
        certificate=proven.every.factor,
        contraction=proven.every,
        contracts_for=EVERY_INPUT,
    )


@_theory_of.register
def _of_encoder_decoder(source: EncoderDecoderSource, asked: TheoryQuestion) -> TheoryColumns:
    """The direct path runs through decoder and encoder alike; other closed forms have no single W."""
    model, slopes, case, tape = source.seq2seq, asked.gathered[0], asked.case, asked.case.tape
    assert isinstance(tape, Seq2SeqTape)
    nothing = np.full(tape.n_steps + 1, np.nan)
    encoder, decoder, T = model.encoder, model.decoder, tape.encoder_steps
    handed_over = case.initial_bound
    for _ in range(T):
        handed_over = encoder.next_state_bound(handed_over)
    soft = model.feedback == "soft"
    gain = feedback_gain(decoder, model.head_weight, model.embedding, model.temperature) if soft else 0.0
    steps = [
        step_norm_bounds(encoder, T, case.initial_bound),
        decoder_step_bounds(decoder, tape.decoder_steps, handed_over, gain),
    ]
    bound = sums_by_lag(np.concatenate(steps), asked.anchor)
    bound_name = "Π_t of the step bounds of decoder and encoder" if np.isfinite(bound).all() else None
    if slopes.direct is None:
        return TheoryColumns("none: encoder and decoder have different W", nothing, nothing, bound, bound_name)
    name = "the direct path through decoder and encoder, its largest unit"
    return TheoryColumns(name, asked.mean(slopes.direct), nothing, bound, bound_name)


@_theory_of.register
def _of_separate_weights(source: IndependentSource, asked: TheoryQuestion) -> TheoryColumns:
    """Π φ′ ‖W_t‖: with a W of its own at every step there is no power, only the product of norms, and it is a bound."""
    T, anchor, network, slopes = asked.n_steps, asked.anchor, asked.case.network, asked.gathered[0]
    assert isinstance(network, Independent)
    with np.errstate(divide="ignore"):
        norms = np.concatenate(
            [np.log10(network.step_norms(first, last)) for first, last in chunks(T, 64)] or [np.zeros(0)]
        )
    spans = sums_by_lag(norms, anchor)
    gamma = np.arange(T + 1) * np.log10(network.cell.activation.max_slope)
    estimate = asked.mean(sums_by_lag(slopes.log10_mean, anchor) + spans.reshape(-1, 1))
    name = "Π mean φ′ ‖W_t‖₂ over the steps (each step has its own W)"
    return TheoryColumns(name, estimate, np.full(T + 1, np.nan), spans + gamma + 1e-12, "Π_t γσ₁(W_t)")


def _layer_columns(cell: Cell, slopes: LayerSlopes, asked: TheoryQuestion) -> TheoryColumns:
    T, anchor, mean = asked.n_steps, asked.anchor, asked.mean
    nothing = np.full(T + 1, np.nan)
    norms = block_norms(cell)
    stepwise = stepwise_bound(cell, T, asked.case.initial_bound, anchor, norms=norms)
    bounds = [Bound(cell.bound_formula, stepwise)] if np.isfinite(stepwise).all() else []
    if slopes.direct is not None:
        estimate = mean(slopes.direct)
        bound, name = tightest(bounds) if bounds else (nothing, None)
        return TheoryColumns(cell.closed_form, estimate, nothing, bound, name)
    W = np.asarray(cell.recurrent_blocks()[cell.gates[-1]], dtype=np.float64)
    powers = asked.powers or power_norms(W, T)
    estimate = mean(article_estimate(slopes.log10_mean, np.where(powers.zero, -np.inf, powers.log10_norm), anchor))
    slope = cell.activation.max_slope
    proof = certify(W, slope=slope)
    radius = spectral_radius(W, proof)
    eigen = mean(eigen_estimate(slopes.log10_mean, float(np.log10(radius)), anchor)) if radius > 0 else nothing
    certificate = None
    if cell.is_slope_times_weight:
        bounds, certificate = product_bounds(W, slope, T, proof), slope * proof.value
    bound, name = tightest(bounds) if bounds else (nothing, None)
    return TheoryColumns(cell.closed_form, estimate, eigen, bound, name, certificate)
