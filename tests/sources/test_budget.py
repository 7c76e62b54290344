"""One account of what a file may cost, whatever its parts say."""

import pytest

from gradscope.errors import InputError
from gradscope.sources.budget import FLOOR_BYTES, MAX_AXES, MAX_NAME, TEXT_FLOOR_BYTES, Budget


def test_values_add_up_over_parts():
    budget = Budget(1000, file="w.pt")
    for _ in range(4):
        budget.values(FLOOR_BYTES // 4, "a storage")
    with pytest.raises(InputError, match="a storage would take 1 bytes"):
        budget.values(1, "a storage")


def test_a_large_file_may_hold_more_than_the_floor():
    Budget(10 << 20, file="w.pt").values(1000 << 20, "tensors")


def test_names_are_limited_one_by_one_and_together():
    budget = Budget(1000, file="w.pt")
    with pytest.raises(InputError, match="a key of 1001 characters"):
        budget.name("a" * (MAX_NAME + 1), "a key")
    for _ in range(TEXT_FLOOR_BYTES // MAX_NAME):
        budget.name("a" * MAX_NAME)
    with pytest.raises(InputError, match="names would take"):
        budget.name("a" * MAX_NAME)


def test_axes_and_counts():
    budget = Budget(1000, file="w.onnx")
    budget.axes(MAX_AXES, "'W'")
    with pytest.raises(InputError, match="'W' has 300000 axes"):
        budget.axes(300_000, "'W'")
    with pytest.raises(InputError, match="more than 5 nodes"):
        budget.count(6, 5, "nodes")


@pytest.mark.parametrize("content", [b"[" + b"[]," * 300_000 + b"0]", '[""' + ',""' * 800_000 + "]"])
def test_json_is_weighed_as_objects_before_it_is_parsed(content):
    with pytest.raises(InputError, match="configuration would take"):
        Budget(1000, file="m.keras").json(content, "its configuration")


@pytest.mark.parametrize("content", [b"{", "[" * 100_000, b"\xff\xfe"])
def test_json_that_is_none(content):
    with pytest.raises(InputError, match="is not JSON"):
        Budget(1000, file="m.keras").json(content, "config.json")


def test_json_of_a_model():
    assert Budget(1000, file="m.keras").json('{"layers": [{"units": 8}]}', "config.json") == {"layers": [{"units": 8}]}
