"""Versions of packages that are not imported, against what importlib.metadata says."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from gradscope.analysis.environment import _version, describe_environment


def test_scipys_version_is_the_installed_one():
    assert describe_environment()["scipy"] == version("scipy")


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (["made_up-3.1.0.dist-info"], "3.1.0"),
        (["made_up-3.1.0+local.7.dist-info", "made_up_too-9.dist-info"], "3.1.0+local.7"),
        (["made_up-2.0.egg-info"], "2.0"),  # as Debian installs
        ([], None),
    ],
)
def test_wherever_an_installer_writes_it(beside, expected, tmp_path, monkeypatch):
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "__init__.py").write_text("raise AssertionError('imported')\n")
    for name in beside:
        (tmp_path / name).mkdir()
        package, _, rest = name.rpartition(".")[0].partition("-")
        for file in ("METADATA", "PKG-INFO"):
            (tmp_path / name / file).write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {rest}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _version("made_up") == expected
    assert "made_up" not in sys.modules


def test_the_processor_that_blas_runs_for_is_recorded():
    from threadpoolctl import threadpool_info

    known = {library["architecture"] for library in threadpool_info() if library.get("architecture")}
    assert not known or describe_environment()["blas_architecture"] in known
