"""Each kind of source answers for itself."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import RunRequest
from gradscope.errors import UsageError
from gradscope.sources.kinds import (
    BidirectionalSource,
    EncoderDecoderSource,
    IndependentSource,
    JacobianSource,
    NetworkSource,
)

SMALL = "hidden=3,inputs=2"
KINDS = {
    f"lstm:{SMALL},layers=2": NetworkSource,
    f"dnn:{SMALL}": IndependentSource,
    f"gru:{SMALL},layers=2,bidirectional=true": BidirectionalSource,
    f"seq2seq:{SMALL},cell=skip,feedback=soft": EncoderDecoderSource,
    "J.npy": JacobianSource,
    "W.npy": NetworkSource,
}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("J.npy", np.ones((4, 3, 3)))
    np.save("W.npy", np.eye(3))


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_a_source_is_of_one_kind_and_runs(text, kind):
    source = gradscope.build(text)
    assert type(source) is kind
    cases = cases_of(source, RunRequest(steps=3))
    assert source.gives_several_results == (len(cases) > 1)
    # Blocks stand in the order of the cells, one for each gate.
    gates = [gate for named in source.named_cells for gate in named.cell.gates]
    assert [block.gate or gates[0] for block in source.blocks] == gates


@pytest.mark.parametrize("text", KINDS)
def test_inspect_lists_the_cells(text):
    source, listed = gradscope.build(text), gradscope.inspect(text).results[0]
    assert list(listed.columns["layer"]) == [named.layer for named in source.named_cells]
    assert list(listed.columns["direction"]) == [named.direction for named in source.named_cells]
    assert list(listed.columns["cell"]) == [named.cell.name for named in source.named_cells]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"dnn:{SMALL}", "network in depth"),
        (f"gru:{SMALL},bidirectional=true", "from both ends"),
        (f"seq2seq:{SMALL}", "its own output already"),
        ("J.npy", "open or closed, is in them already"),
        ("W.npy", "no input weights"),
    ],
)
def test_what_has_no_loop_says_why(text, why):
    with pytest.raises(UsageError, match=why):
        gradscope.lyapunov(text, closed_loop=True, steps=30)


def test_a_block_knows_where_it_recurs():
    soft, teacher = (gradscope.build(f"seq2seq:{SMALL},cell=rnn,feedback={way}") for way in ("soft", "teacher"))
    assert [block.hears_output for block in soft.blocks] == [False, True]
    assert [block.hears_output for block in teacher.blocks] == [False, False]
    assert [block.cell for block in soft.blocks] == [soft.seq2seq.encoder, soft.seq2seq.decoder]
    (first,) = gradscope.build(f"dnn:{SMALL}").blocks
    assert first.cell is None
