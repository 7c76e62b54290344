"""What holds for every test: the environment of whoever runs them does not reach the tool."""

import os
from pathlib import Path

import pytest

#: A CI sets the first, and progress then writes plain lines to stderr; the others steer width, colour and summaries.
STEERING = ("CI", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_STEP_SUMMARY")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*STEERING, *(name for name in os.environ if name.startswith("GRADSCOPE_"))]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``gradscope example`` writes; to be read only, and copied by whoever writes there."""
    from gradscope.example.folder import write_example

    folder = tmp_path_factory.mktemp("example") / "demo"
    write_example(folder)
    return folder
