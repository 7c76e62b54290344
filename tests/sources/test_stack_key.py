"""``stack=a,b,c``: modules of one file as one network, bottom first, widths checked."""

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, UsageError
from gradscope.sources.files import read_weights, select_layers
from gradscope.sources.spec import parse_source
from tests.sources.test_named_tensors import write_npz


@pytest.fixture
def path(tmp_path, forward):
    """A bidirectional lstm 3→2·4, a gru 8→5 on top of it, an rnn 5→2 on top of that."""
    rng = np.random.default_rng(2)
    parts = {
        "bottom": forward.torch_parameters(rng, 4, 3, 4, layers=1, bidirectional=True),
        "middle": forward.torch_parameters(rng, 3, 8, 5, layers=1, bidirectional=False),
        "top": forward.torch_parameters(rng, 1, 5, 2, layers=1, bidirectional=False),
    }
    return write_npz(tmp_path / "w.npz", {f"{m}.{name}": a for m, p in parts.items() for name, a in p.items()})


@pytest.mark.parametrize("keys", ["stack=bottom,middle,top", "stack=bottom+middle+top", "stack=b*,m*,t*,gain=1"])
def test_the_parts_go_on_without_a_key(path, keys):
    spec = parse_source(f"{path}:{keys}")
    layers = select_layers(read_weights(spec.path), stack=spec["stack"])
    assert [(w.module, w.layer, w.direction) for w in layers] == [
        ("bottom", 0, "forward"),
        ("bottom", 0, "backward"),
        ("middle", 1, "forward"),
        ("top", 2, "forward"),
    ]


def test_a_stack_computes_what_its_parts_do_one_after_the_other(path, forward):
    """∂h_T/∂x by central differences of the written-out passes, against the measured input gradient."""
    middle, top = select_layers(read_weights(path), stack="middle,top")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((6, 8))

    def out(x):
        return forward.run(top, forward.run(middle, x))[-1]

    h = 1e-6
    jacobian = np.array([(out(x + h * e) - out(x - h * e)) / (2 * h) for e in np.eye(48).reshape(48, 6, 8)]).T
    np.save(path.with_name("x.npy"), x)
    given = {"inputs": str(path.with_name("x.npy")), "wrt": "inputs", "loss": "none"}
    report = gradscope.gradients(f"{path}:stack=middle,top", **given)
    rows = report.results[0].rows()
    wanted = np.log10([np.linalg.norm(jacobian.reshape(2, 6, 8)[:, t], 2) for t in range(6)])
    found = [row["log10_norm"] for row in sorted(rows, key=lambda row: -row["lag"])]
    np.testing.assert_allclose(found[-6:], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("stack", "error", "match"),
    [
        ("top,middle", InputError, "middle reads 8 inputs, but top below it puts out 2"),
        ("bottom,top", InputError, "top reads 5 inputs, but bottom below it puts out 8"),
        ("bottom", UsageError, "two modules or more"),
        ("middle,middle", UsageError, "stands twice"),
        ("*,top", InputError, "matches"),
        ("middle,roof", InputError, "matches no recurrent module"),
    ],
)
def test_stacks_that_cannot_be(path, stack, error, match):
    with pytest.raises(error, match=match):
        select_layers(read_weights(path), stack=stack)


def test_other_keys_do_not_go_on(path):
    with pytest.raises(UsageError, match="wanted key=value"):
        parse_source(f"{path}:param=bottom,middle")
    with pytest.raises(UsageError, match="leave param= out"):
        select_layers(read_weights(path), stack="middle,top", param="top")
