"""The file's own head and embedding: found by shape, and by the graph where there is one; never guessed."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError
from gradscope.sources import stored_tensor
from gradscope.sources.heads import find_head
from gradscope.sources.onnx_dense import dense_layers
from gradscope.sources.stored_tensor import StoredTensor, keep_beside

RNG = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def find(arrays, **options):
    return find_head(arrays, **{"output_width": 6, "input_width": 4, "container": "torch", **options})


def test_one_weight_that_fits_is_the_head_with_its_bias() -> None:
    arrays = {"fc.weight": array(3, 6), "fc.bias": array(3), "conv.weight": array(5, 4, 3)}
    found = find(arrays)
    assert found.head is not None
    assert found.head.title == "fc (3, 6)"
    np.testing.assert_array_equal(found.head.bias, arrays["fc.bias"])


def test_an_embedding_as_wide_as_the_output_is_not_the_head() -> None:
    arrays = {"embedding.weight": array(9, 6), "out.weight": array(9, 6), "out.bias": array(9)}
    found = find(arrays, input_width=6)
    assert found.head is not None
    assert found.embedding is not None
    assert (found.head.name, found.embedding.name) == ("out", "embedding")


def test_a_lone_embedding_of_both_widths_is_tied_only_when_asked() -> None:
    arrays = {"embedding.weight": array(9, 6)}
    assert find(arrays, input_width=6).head is None
    tied = find(arrays, input_width=6, head="embedding")
    assert tied.head is not None
    assert tied.embedding is not None
    assert tied.head.name == tied.embedding.name == "embedding"


def test_several_that_fit_are_a_question() -> None:
    found = find({"a.weight": array(3, 6), "b.weight": array(5, 6)})
    assert found.head is None
    assert [table.name for table in found.candidates] == ["a", "b"]
    assert find({"a.weight": array(3, 6), "b.weight": array(5, 6)}, head="b").head.name == "b"
    with pytest.raises(InputError, match="head=c names no weight of width 6"):
        find({"a.weight": array(3, 6)}, head="c")


def test_keras_keeps_inputs_first() -> None:
    arrays = {"dense/kernel": array(6, 3), "dense/bias": array(3), "embedding/embeddings": array(11, 4)}
    found = find(arrays, container="keras3")
    np.testing.assert_array_equal(found.head.weight, arrays["dense/kernel"].T)
    np.testing.assert_array_equal(found.head.bias, arrays["dense/bias"])
    assert found.embedding.weight.shape == (11, 4)


def test_what_onnx_writes_as_matmul_and_add_is_one_layer() -> None:
    helper = pytest.importorskip("onnx.helper")
    nodes = [
        helper.make_node("MatMul", ["h", "onnx::MatMul_12"], ["product"]),
        helper.make_node("Add", ["fc.bias", "product"], ["y"]),
        helper.make_node("Gemm", ["h", "turned", "b"], ["z"], transB=0),
        helper.make_node("Gemm", ["h", "m.out.weight", "m.out.bias"], ["w"], transB=1),
    ]
    graph = helper.make_graph(nodes, "g", [], [])
    arrays = {
        "onnx::MatMul_12": array(6, 3),
        "fc.bias": array(3),
        "turned": array(6, 2),
        "b": array(2),
        "m.out.weight": array(5, 6),
        "m.out.bias": array(5),
        "other": array(3),
    }
    found = dense_layers([graph], arrays)
    np.testing.assert_array_equal(found["fc.weight"], arrays["onnx::MatMul_12"].T)
    np.testing.assert_array_equal(found["fc.bias"], arrays["fc.bias"])
    np.testing.assert_array_equal(found["turned.weight"], arrays["turned"].T)
    np.testing.assert_array_equal(found["turned.bias"], arrays["b"])
    np.testing.assert_array_equal(found["m.out.weight"], arrays["m.out.weight"])
    assert "other" in found


def test_a_head_is_kept_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_tensor, "MAX_OTHER_BYTES", 100)
    held = {"out.weight": array(50, 6), "embedding.weight": array(40, 4), "conv.weight": array(9, 9), "b": array(12)}
    tensors = [StoredTensor(name, a.shape, "float64", lambda a=a: a) for name, a in held.items()]
    assert set(keep_beside(tensors, {6, 4})) == {"out.weight", "embedding.weight", "b"}


def test_what_may_follow_the_head_is_said() -> None:
    arrays = {"fc1.weight": array(5, 6), "fc1.bias": array(5), "fc2.weight": array(3, 5), "fc2.bias": array(3)}
    found = find(arrays)
    assert found.head is not None
    assert (found.head.name, [table.name for table in found.followers]) == ("fc1", ["fc2"])
    assert find(arrays, head="fc1").followers == ()
    # An embedding as wide as the vocabulary is no layer after the head.
    assert find({"out.weight": array(4, 6), "out.bias": array(4), "embedding.weight": array(4, 4)}).followers == ()


def test_a_result_warns_of_what_may_follow_its_head() -> None:
    rnn = {"rnn.weight_ih_l0": array(6, 4), "rnn.weight_hh_l0": array(6, 6)}
    rnn |= {"rnn.bias_ih_l0": array(6), "rnn.bias_hh_l0": array(6), "fc1.weight": array(5, 6), "fc1.bias": array(5)}
    (alone,) = gradscope.gradients(rnn, steps=5).results
    (followed,) = gradscope.gradients({**rnn, "fc2.weight": array(3, 5), "fc2.bias": array(3)}, steps=5).results
    assert alone.settings["readout"] == followed.settings["readout"] == "fc1 (5, 6)"
    assert not any("fc2" in said for said in alone.warnings)
    assert sum("fc2 (3, 5) fits what it puts out" in said for said in followed.warnings) == 1
