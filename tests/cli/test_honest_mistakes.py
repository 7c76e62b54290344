"""Files that honest people bring to the wrong door: a sentence each, and what a file is its content says."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradscope.cli import run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_files() -> list[str]:
    np.savez("two.npz", a=np.ones((5, 2)), b=np.ones(3))
    Path("two.npz").rename("renamed.npy")
    np.save("text.npy", np.array(["a", "bc"]))
    np.save("complex.npy", np.ones((5, 2)) * 1j)
    np.save("empty.npy", np.ones((0, 2)))
    np.save("huge.npy", np.ones((0, 2)))
    raw = Path("huge.npy").read_bytes()
    Path("huge.npy").write_bytes(raw.replace(b"(0, 2), }      ", b"(0, 9999999999)"))
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save("fields.npy", np.zeros(3, dtype=[("a", "f8")]))
    np.save("nan.npy", np.full((5, 2), np.nan))
    np.save("dates.npy", np.array(["2020-01-01"], dtype="M8[D]"))
    np.save("whole.npy", np.ones((5, 2)))
    whole = Path("whole.npy").read_bytes()
    Path("whole.npy").unlink()
    for place, byte in ((8, 0), (9, 255), (12, 0x28), (21, 0x27), (30, 0), (60, 0x29)):
        Path(f"damaged{place}.npy").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    Path("cut.npy").write_bytes(whole[:40])
    Path("zero.npy").write_bytes(b"")
    Path("binary.csv").write_bytes(bytes(range(256)))
    Path("words.csv").write_text("a,b\nc,d\n")
    Path("folder.npy").mkdir()
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize("option", ["--inputs", "--state", "--target", "--readout"])
def test_every_wrong_file_is_a_sentence(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in write_files():
        assert run(["gradients", "rnn:hidden=3,inputs=2", "-T", "3", option, name]) in (2, 3), name
        out, err = capsys.readouterr()
        assert out == ""
        assert "bug" not in err, name
        assert 1 <= len(err.splitlines()) <= 2
        assert len(err) <= 1000
        assert name in err or "[Errno" not in err


def test_content_decides_and_not_the_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal((6, 2))
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    Path("x.csv").write_text("\n".join(",".join(map(repr, map(float, row))) for row in x))
    Path("x.npy").rename("x.dat")
    Path("x.npz").rename("y.npy")
    Path("x.csv").rename("plain")
    np.save("whole.npy", np.ones(3))
    Path("whole.npy").rename("state.bin")
    readings = []
    for name in ("x.dat", "y.npy", "plain"):
        words = ["gradients", "rnn:hidden=3,inputs=2", "--inputs", name, "--state", "state.bin", "--json"]
        assert run(words) == 0
        readings.append(json.loads(capsys.readouterr().out)["results"][0]["rows"])
    assert readings[0] == readings[1] == readings[2]
    assert len(readings[0]) == 7


def test_a_readout_is_told_by_content(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("head.npz", weight=np.eye(3))
    Path("head.npz").rename("head.ckpt")
    assert run(["gradients", "rnn:hidden=3", "-T", "3", "--readout", "head.ckpt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["settings"]["readout"] == "head.ckpt"


STORE = ["sweep", "rnn:hidden=2", "--vary", "gain=1,2", "-T", "3", "-j", "1", "--store", "s.jsonl"]


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line | {"horizon": float("nan")},
        lambda line: line | {"part": 3},
        lambda line: line | {"part": [1, "2"]},
        lambda line: line | {"key": 7},
        lambda line: {"kind": "row"},
        lambda line: line | {"kind": "column"},
        lambda line: [line],
        lambda line: line | {"status": None},
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_changed_line_of_a_store_is_refused_by_sweep_and_show(change: Any, last: bool, capsys) -> None:
    assert run(STORE) == 0
    lines = Path("s.jsonl").read_text().splitlines()
    if last:
        del lines[-1]
    lines[2 if last else 1] = json.dumps(change(json.loads(lines[2 if last else 1])))
    text = "\n".join(lines) + "\n"
    Path("s.jsonl").write_text(text)
    capsys.readouterr()
    for words in (STORE, ["show", "s.jsonl"]):
        if words[0] == "show" and "NaN" not in text:
            continue  # what a resumed sweep relies on, a reader may not need
        assert run(words) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert "bug" not in err
        assert len(err.splitlines()) <= 2
    assert Path("s.jsonl").read_text() == text


VALUES = [None, True, "x", "\x1b[2J", -1, 10**30, [], {}, [1], {"a": 1}, [[1]], 1e308]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@pytest.mark.parametrize("verb", ["gradients", "spectrum", "lyapunov", "sweep"])
def test_stored_results_of_wrong_types_are_sentences(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"sweep": ["--vary", "gain=0.5,1", "-j", "1", "-T", "6"], "spectrum": []}.get(verb, ["-T", "6"])
    assert run([verb, "rnn:hidden=3", *more, "-q", "-o", "r.json"]) in (0, 3)
    rng = random.Random(verb)
    for turn in range(60):
        changed = json.loads(Path("r.json").read_text())
        path = rng.choice(places(changed)[1:])
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = rng.choice(VALUES)
        Path("changed.json").write_text(json.dumps(changed))
        format_name = ("table", "md", "html", "csv", "junit")[turn % 5]
        capsys.readouterr()
        code = run(["show", "changed.json", "-f", format_name])
        out, err = capsys.readouterr()
        assert code in (0, 3), (path, inner, err)
        assert "bug" not in err, (path, err)
        assert len(err.splitlines()) <= 2
        assert format_name == "csv" or "\x1b" not in out + err, path


def test_a_number_that_became_a_word_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", "rnn:hidden=3", "-T", "6", "-o", "r.json", "-q"]) == 0
    report = json.loads(Path("r.json").read_text())
    report["results"][0]["summary"]["horizon"] = "far"
    Path("r.json").write_text(json.dumps(report))
    capsys.readouterr()
    for words in (["show", "r.json"], ["diff", "r.json", "r.json"]):
        assert run(words) == 3
        err = capsys.readouterr().err
        assert 'results[0].summary.horizon is "far", wanted integer or null' in err
