"""What ``gradscope example`` trains: the gradients that train it are right, and it is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.example.language_model import fresh, loss_and_gradients, step_jacobians
from gradscope.example.sonnets import SYMBOLS, sonnets, tokens_of
from gradscope.example.training import GRAIN, held_out, train


@pytest.fixture(scope="module")
def trained():
    return train()


def test_the_text_is_in_the_alphabet():
    text = sonnets()
    assert text.startswith("shall i compare thee to a summers day thou art")
    assert text.endswith("which thou must leave ere long")
    assert "  " not in text
    assert "".join(SYMBOLS[token] for token in tokens_of(text)) == text


def test_gradients_against_central_differences():
    """Every array, along a random direction; the error of a central difference falls with the square of its step."""
    rng = np.random.default_rng(1)
    arrays = fresh(5, 3, 4, rng)
    tokens = rng.integers(0, 5, (2, 7))
    _, gradients = loss_and_gradients(arrays, tokens)
    for name, value in arrays.items():
        along = rng.standard_normal(value.shape)
        slope = float(np.sum(gradients[name] * along))

        def off(step, name=name, value=value, along=along, slope=slope):
            high, low = (loss_and_gradients(arrays | {name: value + s * along}, tokens)[0] for s in (step, -step))
            return (high - low) / (2 * step) - slope

        assert abs(off(1e-4)) < 1e-7
        assert off(1e-2) / off(1e-3) == pytest.approx(100, rel=0.1)


def test_the_gradient_that_trained_it_is_the_gradient_that_is_measured(trained):
    """gradients --loss-at all is the sum over steps; training takes the mean over steps and windows."""
    window = held_out()[:1]
    steps = window.shape[1] - 1
    _, gradients = loss_and_gradients(trained.model, window)
    report = gradscope.gradients(trained.model, tokens=window[:, :-1], target=window[:, 1:], loss_at="all")
    measured = report.results[0].summary["log10_dloss_dweight_total"]
    assert measured == pytest.approx(np.log10(np.linalg.norm(gradients["rnn.weight_hh_l0"]) * steps), abs=1e-10)


def test_its_jacobians_multiply_to_what_is_measured(trained):
    inputs = trained.model["embedding.weight"][held_out()[0, :-1]]
    product = np.linalg.multi_dot(step_jacobians(trained.model, inputs)[::-1])
    row = gradscope.gradients(trained.model, inputs=inputs).results[0].rows[len(inputs)]
    assert row["log10_norm"] == pytest.approx(np.log10(np.linalg.norm(product, 2)), abs=1e-10)


def test_it_learns_and_its_gradient_opens(trained):
    losses = list(trained.losses.values())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(27), rel=0.02)  # fresh weights know nothing
    assert losses[-1] < 2.1
    tokens = held_out()[:, :-1]
    reach = [
        gradscope.gradients(weights, tokens=tokens).results[0].summary["horizon"]
        for weights in (trained.checkpoints[0], trained.checkpoints[50])
    ]
    assert reach == [14, 58]


def test_the_same_seed_gives_the_same_bytes(trained):
    """Rounded far above what processors round differently, so that the files are the same on each."""
    for name, value in train().model.items():
        np.testing.assert_array_equal(value, trained.model[name])
        np.testing.assert_array_equal(value * GRAIN, np.round(value * GRAIN))
        np.testing.assert_array_equal(value, value.astype(np.float32))
    assert not np.array_equal(train(seed=1).model["head.bias"], trained.model["head.bias"])
