"""A claim that cannot come out wrong measures nothing: break one formula each, and see ``agrees`` turn False."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from gradscope.article_claims.registry import MODULES


def module_of(name: str) -> Any:
    return import_module(f"gradscope.article_claims.{MODULES[name]}")


def wrapped(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Replace a function by one whose result is changed."""
    return lambda original: lambda *args, **options: change(original(*args, **options))


def with_diagonal_loss(original: Any) -> Any:
    """A scan that forgets the last element of every run."""

    def scan(A: np.ndarray, b: np.ndarray, rounds: int) -> np.ndarray:
        y = original(A, b, rounds)
        y[-1] = y[-2]
        return y

    return scan


def with_one_gate(original: Any) -> Any:
    """Input and forget gate are one and the same."""

    def gates(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        i, _ = original(*args)
        return i, i

    return gates


def with_own_weights(original: Any) -> Any:
    """An LSTM whose first step had a W of its own: the one W serves the other steps alone."""

    def output(lstm: Any, W: np.ndarray, x: np.ndarray, v: np.ndarray) -> complex:
        h, c = np.zeros((2, lstm.hidden_size), dtype=complex)
        for t, inputs in enumerate(x[:, 0]):
            used = lstm.weight_hh if t == 5 else W
            i, f, g, o = (used @ h + lstm.weight_ih @ inputs + lstm.bias).reshape(4, lstm.hidden_size)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
        return complex(v @ h)

    return output


def with_first_statistics(original: Any) -> Any:
    """Statistics of the first step, kept for every other."""
    return lambda *args: [original(*args)[0]] * 12


#: Claim, name within its module, what becomes of it.
PLANTED = [
    ("C01", "jordan_power", wrapped(lambda A: A.T * 1.0001)),
    ("C01", "leading_exponent", wrapped(lambda value: value * 1.001)),
    ("C02", "normal_surrogate", lambda original: lambda W: W),
    ("C02", "log_norms", wrapped(lambda norms: norms - 0.01 * np.arange(len(norms))[:, None])),
    ("C03", "commuted", lambda original: lambda W, slopes: original(W, slopes) * slopes[0].mean()),
    ("C03", "contributions", wrapped(lambda found: [0.999 * g for g in found])),
    ("C04", "log_norms", wrapped(lambda norms: norms * 1.01)),
    ("C05", "log_norms", wrapped(lambda norms: norms + 1e-3)),
    ("C06", "newman_exponents", wrapped(lambda exponents: exponents + 0.08)),
    ("C06", "newman_step_variances", wrapped(lambda variances: variances * 4)),
    ("C07", "tanh_mean_field", lambda original: lambda gain, **options: original(1.2 * gain, **options)),
    ("C08", "fisher_memory", wrapped(lambda memory: memory * 1.001)),
    ("C09", "leading_exponent", wrapped(lambda value: value + 0.001)),
    ("C10", "log_norms", wrapped(lambda norms: norms * 1.0001)),
    ("C11", "growth_exponent", wrapped(lambda power: power / 2)),
    ("C12", "log_norms", wrapped(lambda norms: norms * 1.001)),
    ("C13", "leading_exponent", wrapped(lambda value: value + 1e-4)),
    ("C14", "critical_gain", wrapped(lambda gain: gain * 1.01)),
    ("C15", "masked_batch_norm", lambda original: lambda p, running: module_of("C15").batch_norm(p, running)),
    ("C16", "output_input_jacobians", wrapped(lambda J: np.swapaxes(J, 0, 1))),
    ("C18", "scan", with_diagonal_loss),
    ("C19", "step_norms", lambda original: lambda tape: _Constant(tape.n_steps)),
    ("C13", "gates", with_one_gate),
    ("C15", "stored_statistics", with_first_statistics),
    ("C18", "newton_iterations", wrapped(lambda count: min(count, 20))),
    ("C20", "_output", with_own_weights),
    ("C21", "memory_capacity", wrapped(lambda recovered: np.maximum(recovered, 0.1))),
    ("C12", "leading_exponents", wrapped(lambda values: values - 0.05)),
    ("C14", "leading_exponents", wrapped(lambda values: values * 0.1)),
    ("C20", "parameters", lambda original: lambda cell: original(cell) + 1),
    ("C21", "fisher_memory", wrapped(lambda memory: memory * 1.001)),
    ("C22", "log10_tails", wrapped(lambda tails: np.append(tails[1:], tails[-1]))),  # one copy too few
    ("C22", "measure_weight_tails", lambda original: _without_the_oldest(original)),
    ("C23", "horizons", lambda original: _in_another_order(original)),
    ("C23", "state_gradients", lambda original: _of_two_steps(original)),
    ("C24", "at_own_end", lambda original: module_of("C24").at_last_output),
    ("C24", "at_last_output", lambda original: module_of("C24").at_own_end),
    ("C24", "measure_parameter_gradients", lambda original: _of_forgotten_state(original)),
    ("C25", "squared_sensitivity", wrapped(lambda squares: squares * 1.001)),
    ("C25", "reparametrised_unit", lambda original: lambda decay: module_of("C25").linear_unit(decay)),
    ("C25", "log_norms", wrapped(lambda norms: norms * 1.0001)),
]


class _Constant:
    """Step norms of a network in which all steps do transmit with (nearly) equal strength."""

    def __init__(self, n_steps: int) -> None:
        self.log10_norm = 1e-6 * np.sin(np.arange(n_steps))[:, None]


def _without_the_oldest(original: Any) -> Any:
    """Tails in which the ten oldest copies were forgotten."""

    def tails(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        moved = found.log10_mean_tail.copy()
        moved[-10:-1] = moved[-10]
        return type(found)(found.log10_tail, moved)

    return tails


def _in_another_order(original: Any) -> Any:
    """Horizons of other networks than those that are trained."""
    return lambda kind, seed, rng: original(kind, seed, rng)[::-1]


def _of_two_steps(original: Any) -> Any:
    """Backpropagation that stops after two steps: nothing long can be learnt."""

    def gradients(tape: Any, direct: Any) -> Any:
        for step, vector, exponent in original(tape, direct):
            yield step, vector * (step > tape.n_steps - 2), exponent

    return gradients


def _of_forgotten_state(original: Any) -> Any:
    """∂L/∂W_hh of a direction scaled by a tenth of a percent."""

    def gradients(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        return type(found)(found.names, tuple(1.001 * value for value in found.values), found.exponent)

    return gradients


@pytest.mark.parametrize(("name", "attribute", "plant"), PLANTED, ids=[f"{n}-{a}" for n, a, _ in PLANTED])
def test_a_planted_error_is_found(
    name: str, attribute: str, plant: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(name)
    monkeypatch.setattr(module, attribute, plant(getattr(module, attribute)))
    finding = module.CLAIM.experiment(0)
    assert not finding.agrees
    assert finding.failed


def test_every_claim_has_a_planted_error() -> None:
    assert {name for name, _, _ in PLANTED} | {"C17"} == set(MODULES)


def test_an_encoder_that_hands_over_more_than_its_last_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """C17: a decoder that still hears the first input."""
    module = module_of("C17")
    honest = module.run_seq2seq

    def leaking(model: Any, steps: Any, *args: Any) -> Any:
        bias = model.decoder.bias + 1e-3 * steps.x[0, 0, 0]
        return honest(module.replace(model, decoder=module.replace(model.decoder, bias=bias)), steps, *args)

    monkeypatch.setattr(module, "run_seq2seq", leaking)
    failed = module.CLAIM.experiment(0).failed
    assert any("same h_T" in line for line in failed)


def test_a_softened_argmax_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """C17: feedback that should pass no gradient, but is soft."""
    module = module_of("C17")
    honest = module.run_seq2seq

    def soft_instead(model: Any, *args: Any, **options: Any) -> Any:
        if model.feedback == "greedy":
            model = module.replace(model, feedback="soft")
        return honest(model, *args, **options)

    monkeypatch.setattr(module, "run_seq2seq", soft_instead)
    # Without a decoded sequence the last control has nothing to repeat: it repeats the soft one's most likely symbols.
    monkeypatch.setattr(module, "_decoded", lambda tape: np.zeros(module.S, dtype=int))
    assert not module.CLAIM.experiment(0).agrees
