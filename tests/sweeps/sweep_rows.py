"""What the sweep tests compare: the rows of a store, sorted, as bytes."""

import json
from pathlib import Path


def row_lines(path):
    """Row lines of a store, sorted by key, byte for byte; one key twice would show."""
    lines = [line for line in Path(path).read_bytes().splitlines() if line.startswith(b'{"kind":"row"')]
    return sorted(lines, key=lambda line: (json.loads(line)["key"], line))


def finished_keys(path):
    """Keys of the complete row lines, in the order they were written."""
    raw = Path(path).read_bytes() if Path(path).exists() else b""
    lines = [json.loads(line) for line in raw.split(b"\n")[:-1] if line.startswith(b'{"kind":"row"')]
    return [line["key"] for line in lines]
