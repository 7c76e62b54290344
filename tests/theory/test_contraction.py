"""The contraction certificate of gated cells, from both sides: hunted on whole trajectories, and shown to fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from gradscope.article_claims.runs import build, log_norms, run
from gradscope.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS
from gradscope.cells.cell import Cell
from gradscope.cells.domination import Domination
from gradscope.cells.intervals import Interval, affine, carried, image, largest_slope
from gradscope.networks.layer import Layer
from gradscope.theory.contraction import (
    Contraction,
    contraction,
    contraction_of,
    drives_within,
    every_drive,
    input_bound,
)

#: Networks near the edge of what can be proven: the inputs' bound is sought, so ρ is just below 1.
NETWORKS = [
    "lstm:hidden=6,inputs=2,gain=0.5,input_gain=0.5,forget_bias=-1",
    "lstm:hidden=24,inputs=3,gain=0.2,input_gain=0.3",
    "gru:hidden=8,inputs=2,gain=0.2",
    "gru:hidden=6,inputs=2,gain=0.1,reset=before",
    "gru:hidden=40,inputs=2,gain=0.15",
    "forget-gate:hidden=6,inputs=2,gain=0.2",
    "input-gate:hidden=6,inputs=2,gain=0.2,forget_bias=-2",
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def at_rest(cell: Cell, radius: float = 0.0) -> Interval:
    return Interval.around(np.zeros(cell.state_size), radius)


def proven(text: str, *, share: float = 1.0) -> tuple[Layer, float, Contraction]:
    """The network, the largest bound on its inputs, and the certificate at a share of it."""
    layer = build(text, 3)
    bound = input_bound(layer.cell, at_rest(layer.cell))
    assert bound is not None
    bound *= share
    found = contraction_of(layer.cell, drives_within(layer.cell, bound), at_rest(layer.cell))
    assert found is not None
    return layer, bound, found


def step_factors(found: Contraction, J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """‖D⁻¹JD‖_∞ of step Jacobians (..., n, n), and the radius of their matrices of block norms."""
    v = found.weights
    weighted = np.max(np.abs(J) @ v / v, axis=-1)
    m = len(found.block_norms)
    n = J.shape[-1] // m
    blocks = np.linalg.norm(J.reshape(*J.shape[:-2], m, n, m, n).swapaxes(-3, -2), 2, axis=(-2, -1))
    return weighted, blocks


def jacobians_of(layer: Layer, x: np.ndarray) -> np.ndarray:
    tape = run(layer, x)
    return np.asarray(tape.jacobians(1, tape.n_steps).dense())


@pytest.mark.parametrize("text", NETWORKS)
def test_every_step_and_every_product_obeys(text: str, rng: np.random.Generator) -> None:
    layer, bound, found = proven(text)
    # Inputs at the corners of their box, slow and fast, are worse than any inside.
    x = bound * np.sign(rng.standard_normal((120, 12, layer.cell.input_size)))
    x[:, 6:] = np.repeat(x[::20, 6:], 20, axis=0)[:120]
    J = jacobians_of(layer, x)
    weighted, blocks = step_factors(found, J)
    assert weighted.max() <= found.weighted_factor
    assert (blocks <= found.block_norms + 1e-12).all()
    norms = log_norms(run(layer, x)) / np.log(10)
    assert (norms <= found.log10_bound(120)[:, None] + 1e-12).all()
    assert found.factor < 1


@pytest.mark.parametrize("text", NETWORKS[:4] + NETWORKS[5:])
def test_an_optimiser_finds_no_worse_trajectory(text: str, rng: np.random.Generator) -> None:
    """Twelve steps of input, each component anywhere in its box, driven towards the largest norm of one step."""
    layer, bound, found = proven(text)
    T, width = 12, layer.cell.input_size

    def shortfall(y: np.ndarray) -> float:
        weighted, _ = step_factors(found, jacobians_of(layer, bound * np.tanh(y.reshape(T, 1, width)))[-1:])
        return -float(weighted.max())

    worst = 0.0
    for _ in range(2):
        result = minimize(shortfall, 2 * rng.standard_normal(T * width), method="Powell", options={"maxfev": 400})
        worst = max(worst, -float(result.fun))
    assert worst <= found.weighted_factor
    # The bound is no fantasy either: a hostile trajectory comes within a factor.
    assert worst >= 0.3 * found.weighted_factor


@pytest.mark.parametrize("text", NETWORKS)
def test_the_box_holds_every_state(text: str, rng: np.random.Generator) -> None:
    layer, bound, found = proven(text)
    x = bound * np.sign(rng.standard_normal((300, 20, layer.cell.input_size)))
    x[:, 10:] = x[:1, 10:]
    states = layer.advance(np.zeros((20, layer.cell.state_size)), x)
    box = found.domination.states
    assert (states >= box.low).all()
    assert (states <= box.high).all()


@pytest.mark.parametrize("text", NETWORKS[:3])
def test_starts_inside_their_box_are_covered(text: str, rng: np.random.Generator) -> None:
    layer = build(text, 3)
    start = at_rest(layer.cell, 0.5)
    bound = (input_bound(layer.cell, at_rest(layer.cell)) or 0.0) / 20
    found = contraction_of(layer.cell, drives_within(layer.cell, bound), start)
    if found is None:
        pytest.skip("nothing is proven from this start")
    x = bound * np.sign(rng.standard_normal((40, 8, layer.cell.input_size)))
    tape = run(layer, x, state=rng.uniform(-0.5, 0.5, (8, layer.cell.state_size)))
    weighted, _ = step_factors(found, np.asarray(tape.jacobians(1, 40).dense()))
    assert weighted.max() <= found.weighted_factor


def with_half(attribute: str):
    """The domination with one of its parts halved: a bound that forgot something."""

    def plant(d: Domination) -> Domination:
        return replace(d, **{attribute: getattr(d, attribute) * 0.5})

    return plant


@pytest.mark.parametrize("text", [NETWORKS[0], NETWORKS[2]])
def test_a_planted_error_is_found(text: str, rng: np.random.Generator) -> None:
    layer, bound, found = proven(text)
    wrong = contraction(with_half("fixed")(found.domination))
    assert wrong is not None
    if wrong.domination.keep is not None:
        keep = wrong.domination.keep
        wrong = contraction(replace(wrong.domination, keep=Interval(keep.low * 0.5, keep.high * 0.5)))
        assert wrong is not None
    x = bound * np.sign(rng.standard_normal((60, 30, layer.cell.input_size)))
    weighted, _ = step_factors(wrong, jacobians_of(layer, x))
    assert weighted.max() > wrong.weighted_factor


def test_no_certificate_where_a_gate_can_open_for_good() -> None:
    """An input can hold any forget gate that hears it open: then ∂c/∂c is 1, and nothing contracts for every input."""
    for text in ("lstm:hidden=4,inputs=2,gain=0.01", "gru:hidden=4,inputs=1,gain=0.01"):
        cell = build(text, 0).cell
        assert contraction_of(cell, every_drive(cell), at_rest(cell)) is None


def test_gates_that_hear_no_input_contract_for_every_input(rng: np.random.Generator) -> None:
    layer = build("lstm:hidden=4,inputs=2,gain=0.1,forget_bias=-1.5", 0)
    U = np.array(layer.cell.weight_ih)
    U[4:8] = 0.0
    layer = Layer(replace(layer.cell, weight_ih=U))
    found = contraction_of(layer.cell, every_drive(layer.cell), at_rest(layer.cell))
    assert found is not None
    x = 30 * rng.standard_normal((80, 10, 2))
    norms = log_norms(run(layer, x)) / np.log(10)
    assert (norms <= found.log10_bound(80)[:, None] + 1e-12).all()
    weighted, _ = step_factors(found, jacobians_of(layer, x))
    assert weighted.max() <= found.weighted_factor


def test_one_unit_without_recurrence_is_exact() -> None:
    """W = 0, no input: f = σ(b) is all there is, and ρ is f exactly."""
    layer = build("lstm:hidden=1,inputs=1,forget_bias=0.7,input_gain=0", 0)
    cell = replace(layer.cell, weight_hh=np.zeros((4, 1)))
    found = contraction_of(cell, every_drive(cell), at_rest(cell))
    assert found is not None
    assert found.factor == pytest.approx(1 / (1 + np.exp(-0.7)), rel=1e-8)


def test_no_certificate_under_a_norm_or_without_a_bound() -> None:
    for text in ("lstm:hidden=4,norm=layer,gain=0.01", "gru:hidden=4,activation=relu,gain=0.01"):
        cell = build(text, 0).cell
        assert cell.domination(drives_within(cell, 0.01), at_rest(cell)) is None


class TestIntervals:
    def test_products_and_affine_maps_hold_every_point(self, rng: np.random.Generator) -> None:
        centre, radius = rng.standard_normal(5), rng.uniform(0, 1, 5)
        x, W = Interval.around(centre, radius), rng.standard_normal((3, 5))
        points = rng.uniform(x.low, x.high, (500, 5))
        y = affine(W, x)
        assert ((points @ W.T >= y.low) & (points @ W.T <= y.high)).all()
        product = x[:2] * x[2:4]
        values = points[:, :2] * points[:, 2:4]
        assert ((values >= product.low) & (values <= product.high)).all()

    def test_a_zero_weight_hears_nothing_of_an_infinite_input(self) -> None:
        y = affine(np.array([[0.0, 2.0], [1.0, 0.0]]), Interval(np.array([-np.inf, 0.0]), np.array([np.inf, 1.0])))
        assert y.low[0] == pytest.approx(0.0, abs=1e-11)
        assert y.high[0] == pytest.approx(2.0)
        assert np.isinf(y.high[1])

    @pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "identity"])
    def test_largest_slopes(self, name: str, rng: np.random.Generator) -> None:
        activation = ACTIVATIONS[name]
        a = Interval.around(3 * rng.standard_normal(40), rng.uniform(0, 2, 40))
        points = rng.uniform(a.low, a.high, (200, 40))
        assert (activation.slope(points) <= largest_slope(activation, a)).all()
        assert (activation.value(points) <= image(activation, a).high).all()

    def test_hard_gates(self, rng: np.random.Generator) -> None:
        for activation in GATE_ACTIVATIONS.values():
            a = Interval.around(3 * rng.standard_normal(40), 1.0)
            points = rng.uniform(a.low, a.high, (200, 40))
            assert (activation.slope(points) <= largest_slope(activation, a)).all()

    def test_what_is_carried_stays_inside(self, rng: np.random.Generator) -> None:
        for _ in range(20):
            keep = Interval(*np.sort(rng.uniform(0, 0.95, (2, 3)), axis=0))
            new = Interval(*np.sort(rng.standard_normal((2, 3)), axis=0))
            start = Interval(*np.sort(rng.standard_normal((2, 3)), axis=0))
            box = carried(keep, 1 - keep.high, new, start)
            c = rng.uniform(start.low, start.high, (50, 3))
            for _ in range(200):
                ends = rng.integers(0, 2, (2, 50, 3))
                c = np.where(ends[0], keep.high, keep.low) * c + np.where(ends[1], new.high, new.low)
                assert ((c >= box.low) & (c <= box.high)).all()
