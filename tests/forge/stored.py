"""Stored results and sweep stores: honest ones of every verb, values of them replaced, lines lost, doubled, joined."""

from __future__ import annotations

import contextlib
import functools
import io
import json

from tests.forge import lies

VERBS = [
    "gradients rnn:hidden=2,inputs=1 lstm:hidden=2,inputs=1 -T 3", "spectrum rnn:hidden=2",
    "lyapunov rnn:hidden=2 -T 8",
    "inspect lstm:hidden=2", "sweep rnn:hidden=2,inputs=1 -T 2 --vary seed=1:2", "advise rnn:hidden=2,inputs=1 -T 4",
]  # fmt: skip


@functools.cache
def results():
    """Honest results, as text: (JSON, JSONL) of every verb."""
    from gradscope.cli import run

    found = []
    for verb in VERBS:
        for form in ("json", "jsonl"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                assert run([*verb.split(), "-f", form]) == 0
            found.append(out.getvalue())
    return found


def _places(value, at=()):
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _places(child, (*at, key))


def changed(rng, text):
    """One JSON text with some of its values replaced, keys renamed, doubled or dropped."""
    value, fillings = json.loads(text), {}
    for index in range(rng.choice((1, 1, 2, 5))):
        places = [place for place in _places(value) if place]
        if not places:
            break
        place = rng.choice(places)
        parent = functools.reduce(lambda held, key: held[key], place[:-1], value)
        roll = rng.random()
        if roll < 0.15 and isinstance(parent, dict):
            parent[lies.name(rng)] = parent.pop(place[-1])
        elif roll < 0.25:
            del parent[place[-1]]
        elif roll < 0.35 and isinstance(parent, list):
            parent += [parent[place[-1]]] * lies.repeats(rng)
        else:
            parent[place[-1]] = f"@{index}@"
            fillings[f'"@{index}@"'] = lies.json_value(rng)
    out = json.dumps(value)
    for mark, filling in fillings.items():
        out = out.replace(mark, filling)
    return out


def result(rng, folder):
    text = rng.choice(results())
    lines = text.splitlines() if text.count("\n") > 1 and "kind" in text[:40] else [text]
    for _ in range(rng.choice((1, 1, 3))):
        index = rng.randrange(len(lines))
        roll = rng.random()
        if len(lines) > 1 and roll < 0.1:
            del lines[index]
        elif len(lines) > 1 and roll < 0.2:
            lines += [lines[index]] * lies.repeats(rng)
        elif roll < 0.25:
            lines[index] = lines[index][: rng.randrange(len(lines[index]) + 1)]
        elif roll < 0.3:
            lines[index] = lies.json_value(rng)
        else:
            with contextlib.suppress(ValueError, RecursionError):
                lines[index] = changed(rng, lines[index])
        if not lines:
            break
    path = folder / "result.json"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return path


STORE = "sweep rnn:hidden=2,inputs=1 -T 2 --vary seed=1:3 --store"


def store(rng, folder):
    """A sweep's store, forged; the same sweep resumes from it."""
    honest = folder / "honest.jsonl"
    if not honest.exists():
        from gradscope.cli import run

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run([*STORE.split(), str(honest)]) == 0
    lines = honest.read_text().splitlines()
    for _ in range(rng.choice((1, 2))):
        index = rng.randrange(len(lines))
        roll = rng.random()
        if roll < 0.15:
            lines[index] = lies.json_value(rng)
        elif roll < 0.25:
            lines.insert(index, lines[index])
        elif roll < 0.35:
            lines[index] = lines[index][: rng.randrange(len(lines[index]) + 1)]
        else:
            with contextlib.suppress(ValueError, RecursionError):
                lines[index] = changed(rng, lines[index])
    path = folder / "store.jsonl"
    path.write_text("\n".join(lines) + rng.choice(("\n", "")), encoding="utf-8", errors="replace")
    return path


KINDS = {"stored result": (result, ("show", "diff")), "sweep store": (store, ("resume", "show"))}
