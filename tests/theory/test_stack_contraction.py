"""The contraction of stacked gated layers, from both sides: dense and complex-step Jacobians, and errors planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradscope
from gradscope.analysis.contracting import proof_of
from gradscope.article_claims.runs import log_norms, run
from gradscope.cells.intervals import Interval
from gradscope.networks.stack import Stack
from gradscope.sources.build import build_source
from gradscope.sources.kinds import NetworkSource
from gradscope.sources.spec import parse_source
from gradscope.theory.contraction import Contraction, drives_within, every_drive, largest_bound
from gradscope.theory.stack_contraction import StackContraction, compose

STACKS = [
    "lstm:hidden=6,inputs=2,layers=2,gain=0.4,input_gain=0.4,forget_bias=-1",
    "lstm:hidden=5,inputs=3,layers=3,gain=0.2,input_gain=0.3,forget_bias=-1,bias=0.3",
    "lstm:hidden=6,inputs=2,layers=2,gain=0.2,input_gain=0.3,forget_bias=-1,dropout=0.4",
    "gru:hidden=6,inputs=2,layers=2,gain=0.2,input_gain=0.3",
    "gru:hidden=5,inputs=2,layers=3,gain=0.2,input_gain=0.3,reset=before",
    "forget-gate:hidden=6,inputs=2,layers=2,gain=0.2,input_gain=0.3",
    "input-gate:hidden=5,inputs=2,layers=3,gain=0.2,input_gain=0.3,forget_bias=-2",
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def build(text: str) -> Stack:
    source = build_source(parse_source(text), seed=3)
    assert isinstance(source, NetworkSource)
    assert isinstance(source.network, Stack)
    return source.network


def proven(text: str, radius: float = 0.0) -> tuple[Stack, float, StackContraction]:
    """The network, nearly the largest bound on its inputs, and what is proven there."""
    stack = build(text)
    box = Interval.around(np.zeros(stack.state_size), radius)
    bottom = stack.cells[0]
    bound = largest_bound(lambda b: proof_of(stack, drives_within(bottom, b), box) is not None)
    assert bound
    found = proof_of(stack, drives_within(bottom, bound), box)
    assert isinstance(found, StackContraction)
    assert len(found.layers) == len(stack.cells)
    return stack, bound, found


def hostile(bound: float, width: int, rng: np.random.Generator, steps: int = 120, batch: int = 12) -> np.ndarray:
    """Inputs at the corners of their box, fast and slow."""
    x = bound * np.sign(rng.standard_normal((steps, batch, width)))
    x[:, batch // 2 :] = np.repeat(x[::20, batch // 2 :], 20, axis=0)[:steps]
    return x


def cut(stack: Stack, J: np.ndarray) -> list[list[np.ndarray]]:
    """Blocks (l, j) of Jacobians (..., n, n)."""
    return [[J[..., rows, columns] for columns in stack.layer_slices] for rows in stack.layer_slices]


def shares(stack: Stack, found: StackContraction, J: np.ndarray) -> dict[str, float]:
    """How much of every bound on a step the Jacobians J use: above 1 a bound is broken."""
    out = {"weighted": 0.0, "spectral": 0.0, "entries": 0.0}
    blocks, L = cut(stack, J), len(stack.cells)
    for choice in found.choices():
        N = found.matrix(choice)
        if all(norms.weighted for norms in choice):
            for i, j in ((row, column) for row in range(L) for column in range(row + 1)):
                v, w = found.layers[j].weights, found.layers[i].weights
                out["weighted"] = max(out["weighted"], float((np.abs(blocks[i][j]) @ v / w).max()) / N[i, j])
        if not any(norms.weighted for norms in choice):
            m = len(N) // L
            parts = [np.split(row, m, axis=-2) for layer in blocks for row in [np.concatenate(layer, axis=-1)]]
            for i, row in enumerate(part for layer in parts for part in layer):
                for j, block in enumerate(np.split(row, len(N), axis=-1)):
                    size = float(np.linalg.norm(block, 2, axis=(-2, -1)).max())
                    if N[i, j] or size:
                        out["spectral"] = max(out["spectral"], size / N[i, j] if N[i, j] else np.inf)
    M = found.entries()
    if M is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            out["entries"] = float(np.nan_to_num(np.abs(J) / M, posinf=np.inf).max())
    return out


def couplings(stack: Stack, x: np.ndarray) -> list[np.ndarray]:
    """∂s^l_t/∂(what layer l reads) by complex step, for every layer above the first: (T, batch, n_l, H)."""
    states = stack.advance(np.zeros((x.shape[1], stack.state_size)), x)
    out = []
    for layer, inputs in enumerate(stack.layer_inputs(states, x)):
        if layer:
            cell, part = stack.cells[layer], stack.layer_slices[layer]
            columns = []
            for j in range(cell.input_size):
                moved = inputs.astype(complex)
                moved[..., j] += 1e-30j
                columns.append(cell.step(states[:-1, ..., part].astype(complex), cell.drive(moved)).imag / 1e-30)
            out.append(np.stack(columns, axis=-1))
    return out


@pytest.mark.parametrize("text", STACKS)
def test_every_step_and_every_product_obeys(text: str, rng: np.random.Generator) -> None:
    stack, bound, found = proven(text)
    x = hostile(bound, stack.input_size, rng)
    tape = run(stack, x)
    J = np.asarray(tape.jacobians(1, 120).dense())
    assert max(shares(stack, found, J).values()) <= 1 + 1e-9
    assert found.factor < 1
    limit = found.log10_bound(120)
    for anchor in ("start", "end"):
        assert (log_norms(tape, anchor=anchor) / np.log(10) <= limit[:, None] + 1e-9).all()


@pytest.mark.parametrize("text", STACKS)
def test_products_by_complex_step(text: str, rng: np.random.Generator) -> None:
    """∂s_T/∂s_0 through the recurrence itself, without any Jacobian of ours."""
    stack, bound, found = proven(text)
    T, n = 12, stack.state_size
    x = hostile(bound, stack.input_size, rng, T, 2)[:, :1]
    moved = 1e-30j * np.eye(n)
    end = (
        stack.advance(moved, np.broadcast_to(x, (T, n, stack.input_size)).copy())[-1] if stack.dropout is None else None
    )
    if end is None:
        # A mask is drawn for each sample, so columns are moved one at a time.
        end = np.concatenate([stack.advance(row[None], x)[-1] for row in moved])
    norm = np.linalg.norm(end.imag / 1e-30, 2)
    assert np.log10(norm) <= found.log10_bound(T)[T]


@pytest.mark.parametrize("text", STACKS)
def test_states_and_couplings_stay_in_what_is_said_of_them(text: str, rng: np.random.Generator) -> None:
    stack, bound, found = proven(text)
    x = hostile(bound, stack.input_size, rng, 200)
    states = stack.advance(np.zeros((12, stack.state_size)), x)
    for part, layer in zip(stack.layer_slices, found.layers, strict=True):
        box = layer.domination.states
        assert (states[..., part] >= box.low).all()
        assert (states[..., part] <= box.high).all()
    for seen, layer in zip(couplings(stack, x), found.layers[1:], strict=True):
        d = layer.domination
        assert (np.abs(seen) <= d.input_entries * (1 + 1e-12)).all()
        lengths = [np.linalg.norm(part, 2, axis=(-2, -1)).max() for part in np.split(seen, len(d.heard), axis=-2)]
        assert (np.array(lengths) <= d.input_norms * (1 + 1e-12)).all()


@pytest.mark.parametrize("text", STACKS[:2] + STACKS[3:])
def test_a_halved_coupling_is_found(text: str, rng: np.random.Generator) -> None:
    stack, bound, found = proven(text)
    seen = couplings(stack, hostile(bound, stack.input_size, rng, 200))
    worst = [
        float((np.abs(J) / (0.5 * layer.domination.input_entries)).max())
        for J, layer in zip(seen, found.layers[1:], strict=True)
    ]
    assert min(worst) > 1


@pytest.mark.parametrize("text", [STACKS[0], STACKS[1], STACKS[6]])
def test_a_halved_domination_is_found(text: str, rng: np.random.Generator) -> None:
    """Of one layer alone, whichever it is."""
    stack, bound, found = proven(text)
    J = np.asarray(run(stack, hostile(bound, stack.input_size, rng)).jacobians(1, 120).dense())
    for layer in range(len(stack.cells)):
        d = found.layers[layer].domination
        wrong = replace(found.layers[layer], domination=replace(d, fixed=0.5 * d.fixed))
        layers = tuple(wrong if i == layer else one for i, one in enumerate(found.layers))
        assert shares(stack, replace(found, layers=layers), J)["entries"] > 1
        halved = replace(found.layers[layer], weighted_factor=0.5 * found.layers[layer].weighted_factor)
        layers = tuple(halved if i == layer else one for i, one in enumerate(found.layers))
        assert shares(stack, replace(found, layers=layers), J)["weighted"] > 1


def test_masks_count() -> None:
    """Without their gain the coupling that dropout can give is too small."""
    stack, bound, found = proven(STACKS[2])
    assert found.mask_gain == pytest.approx(1 / 0.6)
    assert stack.dropout is not None
    without = proof_of(
        replace(stack, dropout=None), drives_within(stack.cells[0], bound), Interval.around(np.zeros(24), 0)
    )
    assert isinstance(without, StackContraction)
    assert without.mask_gain == 1.0
    above = [one.layers[1].domination.states.magnitude for one in (without, found)]
    assert (above[0] <= above[1] + 1e-15).all()
    assert (above[0] < above[1]).any()


def test_starts_inside_their_box_are_covered(rng: np.random.Generator) -> None:
    stack, bound, found = proven(STACKS[0], radius=0.3)
    x = hostile(bound, 2, rng, 40, 8)
    tape = run(stack, x, state=0.3 * np.sign(rng.standard_normal((8, stack.state_size))))
    assert max(shares(stack, found, np.asarray(tape.jacobians(1, 40).dense())).values()) <= 1 + 1e-9


def test_one_unit_each_without_recurrence_is_exact() -> None:
    """W = 0, gates that hear nothing: each c keeps f, the larger f is the rate and the coupling costs none."""
    stack = build("lstm:hidden=1,inputs=1,layers=2")
    cells = []
    for cell, forget in zip(stack.cells, (0.7, 1.3), strict=True):
        U = np.zeros_like(cell.weight_ih)
        U[2] = 5.0  # the candidate alone hears
        cells.append(replace(cell, weight_ih=U, weight_hh=np.zeros((4, 1)), bias=np.array([0.0, forget, 0.0, 0.0])))
    stack = Stack(tuple(cells))
    found = proof_of(stack, every_drive(cells[0]), Interval.around(np.zeros(4), 0.0))
    assert isinstance(found, StackContraction)
    assert found.factor == pytest.approx(1 / (1 + np.exp(-1.3)), rel=1e-8)
    bound = found.log10_bound(2000)
    assert bound[2000] - bound[1999] == pytest.approx(np.log10(found.factor), rel=1e-3)
    x = 3 * np.random.default_rng(0).standard_normal((200, 6, 1))
    assert (log_norms(run(stack, x)) / np.log(10) <= bound[:201, None] + 1e-12).all()


def test_no_certificate_where_one_layer_has_none() -> None:
    for keys in ("norm=layer", "activation=relu", "forget_bias=9"):
        stack = build(f"lstm:hidden=3,inputs=1,layers=2,gain=0.01,input_gain=0.01,{keys}")
        assert proof_of(stack, drives_within(stack.cells[0], 0.01), Interval.around(np.zeros(12), 0.0)) is None


def test_blocks_compose_as_the_recurrence_does(rng: np.random.Generator) -> None:
    """K_l N_{l−1,j}, written out for three layers."""
    A, B, C, K, M = (rng.uniform(0, 1, shape) for shape in ((2, 2), (1, 1), (2, 2), (1, 2), (2, 1)))
    expected = np.block([
        [A, np.zeros((2, 1)), np.zeros((2, 2))],
        [K @ A, B, np.zeros((1, 2))],
        [M @ K @ A, M @ B, C],
    ])  # fmt: skip
    assert np.allclose(compose([A, B, C], [K, M]), expected, rtol=1e-14, atol=0)


def test_a_stack_of_one_layer_says_what_the_layer_says() -> None:
    stack, bound, _ = proven(STACKS[3])
    box = Interval.around(np.zeros(6), 0.0)
    alone = proof_of(Stack(stack.cells[:1]), drives_within(stack.cells[0], bound), box)
    assert isinstance(alone, StackContraction)
    (layer,) = alone.layers
    assert isinstance(layer, Contraction)
    assert (alone.log10_bound(50) <= layer.log10_bound(50) + 1e-9).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("source", ["lstm:hidden=1", "lstm:hidden=2,layers=2", "forget-gate:hidden=2", "gru:hidden=2"])
def test_what_underflows_is_not_proven_to_be_zero(source):
    """A gate of e^-800 is 10^-347: no bound may lie below its powers, as an exact zero would."""
    (result,) = gradscope.gradients(f"{source},gain=0,forget_bias=-800", steps=3).results
    log10_gate = -800 / np.log(10)
    for row in list(result.rows())[1:]:
        bound = row["log10_contraction_bound"]
        assert bound is not None
        assert bound > row["lag"] * log10_gate
    assert 0 < result.summary["contraction"] < 1
