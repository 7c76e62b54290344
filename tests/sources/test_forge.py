"""A few seconds of ``python -m tests.forge``: forged files of every kind are read or refused in one or two lines."""

from __future__ import annotations

import json

import pytest

from gradscope.strict_json import strict_loads
from tests.forge import KINDS
from tests.forge.doors import Failed, arguments, opened
from tests.forge.lies import Liar

FILES = 12


@pytest.mark.parametrize("kind", KINDS)
def test_forged_files_are_read_or_refused(kind, tmp_path):
    forge, doors = KINDS[kind]
    found = set()
    for index in range(FILES):
        rng = Liar(f"{kind} brief {index}")
        path = forge(rng, tmp_path)
        found.add(opened(arguments(rng.choice(doors), path, rng)))
    assert found <= {"read", "refused"}
    assert "refused" in found


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_lie_is_read(kind, tmp_path):
    """The generators build the format itself: without a lie the file is an honest one."""
    if kind == "stored result":
        pytest.skip("changes at least one value of an honest result")
    forge, doors = KINDS[kind]
    found = set()
    for index in range(4):
        rng = Liar(f"{kind} honest {index}")
        rng.rate = 0.0
        path = forge(rng, tmp_path)
        found |= {opened(arguments(door, path, rng)) for door in doors}
    assert "read" in found


def test_the_judge_sees_a_planted_error(tmp_path, monkeypatch):
    from gradscope.sources import files

    def breaks(*_, **__):
        raise RecursionError("too deep")

    monkeypatch.setattr(files, "read_weights", breaks)
    monkeypatch.setattr("gradscope.sources.file_network.read_weights", breaks)
    path = KINDS["npz"][0](Liar("planted"), tmp_path)
    with pytest.raises(Failed, match="this is a bug in gradscope"):
        opened(["inspect", str(path)])


@pytest.mark.parametrize("levels", [65, 300, 900, 100_000])
def test_a_store_and_a_result_that_nest_without_end(tmp_path, levels):
    """Found by forging: 300 levels were read, and broke what walked through them."""
    nest = "[" * levels + "]" * levels
    for text in (nest, '{"a":' * levels + "1" + "}" * levels):
        with pytest.raises(ValueError, match="nested more than 64 levels"):
            strict_loads(text)
    store = tmp_path / "s.jsonl"
    sweep = ["sweep", "rnn:hidden=2,inputs=1", "-T", "2", "--vary", "seed=1:2", "--store", str(store)]
    assert opened(sweep) == "read"
    lines = store.read_text().splitlines()
    row = json.loads(lines[1])
    row["horizon"] = "@"
    store.write_text("\n".join([lines[0], json.dumps(row).replace('"@"', nest), *lines[2:]]) + "\n")
    assert opened(sweep) in ("read", "refused")
    assert opened(["show", str(store)]) in ("read", "refused")
