"""A few seconds of what ``make fuzz`` does for long: damaged files are read or refused, never anything else."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("h5py")
pytest.importorskip("onnx")


def _fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_files", Path(__file__).parents[1] / "fuzz_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _fuzz()


class Seeds(list):
    def __repr__(self):  # hypothesis prints arguments, and these are files
        return f"<{len(self)} valid files>"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return Seeds(fuzz.valid_files(tmp_path_factory.mktemp("seeds")))


def test_every_seed_is_valid(seeds, tmp_path):
    assert {suffix for suffix, _ in seeds} >= {".npz", ".safetensors", ".pt", ".h5", ".hdf5", ".keras", ".onnx", ".npy"}
    for suffix, content in seeds:
        path = tmp_path / f"seed{suffix}"
        path.write_bytes(content)
        from gradscope.sources.files import read_matrices, read_weights

        (read_matrices if suffix == ".npy" else read_weights)(path)


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.integers(0, 99), rng=st.integers(0, 2**32 - 1))
def test_mutated_files_are_read_or_refused(seeds, tmp_path, which, rng):
    suffix, content = seeds[which % len(seeds)]
    path = tmp_path / f"case{suffix}"
    path.write_bytes(fuzz.mutate(content, random.Random(rng)))
    assert fuzz.read_one(path) in ("read", "refused")


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(suffix=st.sampled_from([".npz", ".safetensors", ".pt", ".h5", ".keras", ".onnx", ".npy"]), content=st.binary())
def test_any_bytes_are_read_or_refused(tmp_path, suffix, content):
    path = tmp_path / f"case{suffix}"
    path.write_bytes(content)
    assert fuzz.read_one(path) == "refused"
