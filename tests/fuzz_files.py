"""Mutate valid weights files of every format and read them: the outcome must be weights or one InputError.

Briefly in ``make test`` (tests/sources/test_fuzz_files.py); for long as a script, in child processes, so that a crash
of a C library, a hang or a flood of memory is seen and counted rather than suffered::

    python tests/fuzz_files.py --files 10000 --seed 0
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.forge.doors import MEGABYTES, SECONDS, forget_peak, peak_megabytes

CHUNK = 500
ROOM = Path(__file__).parent / "sources"
INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def _room(name):
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", ROOM / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def valid_files(folder, *, large=False):
    """One or more valid files of every format, as the tests write them: (suffix, bytes)."""
    folder = Path(folder)
    rng = np.random.default_rng(0)
    pytorch, torch, keras, onnx = (
        _room(n) for n in ("conftest", "test_torch_files", "test_keras_files", "test_onnx_files")
    )
    named = _room("test_named_tensors")
    lstm = {f"net.rnn.{k}": v.astype("f4") for k, v in pytorch.torch_parameters(rng, 4, 3, 4, layers=2).items()}
    gru = pytorch.torch_parameters(rng, 3, 3, 2, bidirectional=True)
    np.savez_compressed(folder / "c.npz", **gru)
    np.save(folder / "j.npy", rng.standard_normal((3, 2, 2)))
    named.write_npz(folder / "a.npz", lstm)
    named.write_safetensors(folder / "a.safetensors", {**lstm, "fc.weight": np.ones((2, 4), "f4")})
    for legacy in (False, True):
        checkpoint = torch.Checkpoint(legacy=legacy)
        moments = {0: {"step": 1, "exp_avg": checkpoint.tensor(np.zeros((2, 2), "f4"))}}
        saved = {"state_dict": checkpoint.state_dict(lstm, parameter=True), "optimizer": {"state": moments}}
        checkpoint.write(folder / f"{'b' if legacy else 'a'}.pt", saved)
    gru_config = keras.bidirectional(keras.layer_config("GRU", "g", 3))
    stored = {
        f"layers/bidirectional/{s}_layer/cell": keras.arrays_of(rng, "GRU", 2, 3) for s in ("forward", "backward")
    }
    keras.write_keras3(folder / "a.keras", [gru_config], stored)
    keras.write_keras3(folder / "a.weights.h5", [], stored, weights_only=True)
    weights = {"l": keras.named("l/lstm_cell", keras.arrays_of(rng, "LSTM", 2, 3))}
    keras.write_keras2(folder / "b.h5", [keras.layer_config("LSTM", "l", 3)], weights)
    keras.write_keras2(folder / "c.hdf5", [], weights, weights_only=True)
    cudnn = {"c": keras.named("c", keras.arrays_of(rng, "GRU", 2, 3, bias="cudnn"))}
    keras.write_keras2(folder / "d.h5", [], cudnn, weights_only=True)
    onnx.one_node(folder, "GRU", onnx.arrays_of(rng, "GRU", 3, 4, 2), direction="bidirectional")
    p = pytorch.torch_parameters(rng, 4, 3, 4)
    nodes, arrays = onnx.torch_like_export(*(p[f"{k}_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), 4)
    nodes.append(onnx.helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], name="/LSTM", hidden_size=4))
    onnx.save(onnx.model_of(nodes, arrays), folder / "folded.onnx")
    seeds = [("".join(path.suffixes), path.read_bytes()) for path in sorted(folder.iterdir())]
    return seeds + trained_files(large=large)


def trained_files(*, large=False):
    """Trained models with real structure, where their wheels are installed; the larger ones (1 MB) for long runs."""
    wanted = [("sleepecg", "wrn-gru-mesa.zip", ".keras")]
    if large:
        names = ("silero_vad_16k.safetensors", "silero_vad_16k_sequence.onnx", "silero_vad_16k_op15.onnx")
        wanted += [("silero-vad", name, Path(name).suffix) for name in names]
    found = []
    for package, ending, suffix in wanted:
        try:
            files = importlib.metadata.files(package) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        path = next(Path(str(entry.locate())) for entry in files if str(entry).endswith(ending))
        content = zipfile.ZipFile(path).read("classifier.keras") if path.suffix == ".zip" else path.read_bytes()
        found.append((suffix, content))
    return found


def mutate(content, rng, *, depth=0):
    """A damaged copy: bytes, runs, lengths, cuts, repeats; inside a zip member too, with its checksum made right."""
    if content[:2] == b"PK" and depth == 0 and rng.random() < 0.6:
        return _inside_zip(content, rng)
    data = bytearray(content)
    # Headers and tables stand at the beginnings and ends of these formats: half of the hits go there.
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        span = len(data) if rng.random() < 0.5 else min(len(data), 600)
        at = rng.randrange(span) if rng.random() < 0.8 else len(data) - 1 - rng.randrange(span)
        kind = rng.randrange(8)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(INTERESTING) & (256**width - 1)
            data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            del data[at : at + rng.choice((1, 4, 64, 1000))]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
        elif kind == 5:
            other = rng.randrange(len(data))
            n = rng.choice((1, 8, 64, 512))
            data[at : at + n] = data[other : other + n]
        elif kind == 6:
            data[at : at + rng.choice((4, 32))] = rng.choice((b"\0", b"\xff", b"(", b"[", b"9")) * rng.choice(
                (4, 32, 400)
            )
        elif rng.random() < 0.3:
            del data[at:]
        else:
            data[at : at + 1] = str(rng.choice(INTERESTING)).encode()
    return bytes(data)


def _inside_zip(content, rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        target = rng.choice(names)
        for name in names:
            member = old.read(name)
            if name == target:
                if rng.random() < 0.05:
                    continue
                member = mutate(member, rng, depth=1)
            new.writestr(name, member, compress_type=rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return buffer.getvalue()


def read_one(path):
    """Read a file as the command line would; returns how it came out. Anything but these propagates."""
    from gradscope.errors import InputError
    from gradscope.sources.files import read_matrices, read_weights, select_layers

    try:
        if path.suffix == ".npy":
            read_matrices(path)
        else:
            weights = read_weights(path)
            for layer in weights.layers:
                if not np.isfinite(layer.weight_hh).all() or layer.weight_ih.shape[0] != layer.weight_hh.shape[0]:
                    raise AssertionError("weights that are none")
            select_layers(weights)
    except InputError as error:
        if not 10 < len(str(error)) < 500 or not str(error).isprintable():
            raise AssertionError(f"not a sentence: {error!r}") from error
        return "refused"
    return "read"


def work(seed, n_files, folder, only):
    """One chunk, in a child process: every case is on disk before it is read."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # a loop without end ends the process with this signal
    seeds = [seed for seed in valid_files(tempfile.mkdtemp(dir=folder), large=True) if seed[0].endswith(only)]
    for index, (suffix, content) in enumerate(seeds):  # loads the libraries, so that no mutation is charged for them
        path = Path(folder) / f"whole-{seed}-{index}{suffix}"
        path.write_bytes(content)
        read_one(path)
    rng = random.Random(seed)
    counts, slowest, largest = Counter(), Counter(), Counter()
    for index in range(n_files):
        suffix, content = rng.choice(seeds)
        path = Path(folder) / f"case-{seed}{suffix}"
        path.write_bytes(mutate(content, rng))
        (Path(folder) / f"case-{seed}.txt").write_text(f"{index} {path.name}")
        forget_peak()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        start = time.process_time()
        outcome = read_one(path)
        seconds, megabytes = time.process_time() - start, peak_megabytes()
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest[suffix], largest[suffix] = max(slowest[suffix], seconds), max(largest[suffix], megabytes)
        if seconds > SECONDS or megabytes > MEGABYTES:
            Path(f"mutated-{seed}-{index}{suffix}").write_bytes(path.read_bytes())
        counts[f"{suffix} {outcome}"] += 1
        path.unlink()
    print(json.dumps({"counts": counts, "slowest": slowest, "largest": largest}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--suffix", default="", help="only this format, e.g. .h5")
    parser.add_argument("--worker", metavar="FOLDER")
    asked = parser.parse_args()
    if asked.worker:
        work(asked.seed, asked.files, asked.worker, asked.suffix)
        return
    total, slowest, largest, crashes = Counter(), Counter(), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for chunk in range(-(-asked.files // CHUNK)):
            seed = asked.seed * 1_000_003 + chunk
            n_files = min(CHUNK, asked.files - chunk * CHUNK)
            command = [
                sys.executable,
                "-W",
                "error",
                __file__,
                "--worker",
                folder,
                "--seed",
                str(seed),
                "--files",
                str(n_files),
                "--suffix",
                asked.suffix,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                case = (Path(folder) / f"case-{seed}.txt").read_text()
                crashes.append(f"seed {seed}, case {case}, exit {done.returncode}:\n{done.stderr[-2000:]}")
                print(crashes[-1], file=sys.stderr)
                kept = next(Path(folder).glob(f"case-{seed}.*[!t]"), None)
                if kept is not None:
                    Path(kept.name).write_bytes(kept.read_bytes())
                continue
            found = json.loads(done.stdout)
            total.update(found["counts"])
            for sofar, more in ((slowest, found["slowest"]), (largest, found["largest"])):
                for suffix, value in more.items():
                    sofar[suffix] = max(sofar[suffix], value)
    print("| kind | tried | read | refused | slowest | largest |\n|---|---|---|---|---|---|")
    for suffix in sorted(slowest):
        read, refused = total[f"{suffix} read"], total[f"{suffix} refused"]
        numbers = f"{read + refused} | {read} | {refused}"
        print(f"| `{suffix}` | {numbers} | {slowest[suffix]:.2f} s | {largest[suffix]:.0f} MB |")
    print(f"{sum(total.values())} files, {len(crashes)} crashes or hangs")
    if crashes or max(slowest.values()) > SECONDS or max(largest.values()) > MEGABYTES:
        sys.exit(1)


if __name__ == "__main__":
    main()
