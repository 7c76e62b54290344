"""``make test-minimal`` installs the versions that pyproject.toml declares as the lowest, and no others."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_minimal_requirements_are_the_declared_minima() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = [*project["dependencies"], *extras["keras"], *extras["onnx"], *extras["plot"]]
    lowest = dict(re.match(r"([\w-]+)>=([\d.]+)", entry).groups() for entry in ranges)
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests/minimal-requirements.txt").read_text(), re.M))
    assert pinned.keys() == lowest.keys()
    for name, version in lowest.items():
        padded = [*map(int, version.split(".")), 0, 0][:3]
        assert [*map(int, pinned[name].split("."))][:3] == padded, name
