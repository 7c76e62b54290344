"""Text files of whole numbers: tokens, lengths."""

from __future__ import annotations

import re
from pathlib import Path

from gradscope.errors import InputError

#: Longest text file of whole numbers that is read.
MAX_TEXT = 64 << 20


def rows_of_whole_numbers(path: Path, name: str) -> list[list[int]]:
    """The numbers of each line that is not empty, parted by spaces or commas.

    Raises
    ------
    InputError
        Too long, no text, or something else than whole numbers in it; ``name`` is what it was read for.
    """
    if path.stat().st_size > MAX_TEXT:
        raise InputError(f"{name}: longer than {MAX_TEXT >> 20} MiB of text: save it as .npy.")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{name}: not a text file of whole numbers.") from None
    rows = []
    for line in content.splitlines():
        if not line.strip():
            continue
        words = re.split(r"[\s,]+", line.strip(" ,\t"))
        if not all(re.fullmatch(r"-?[0-9]{1,18}", word) for word in words):
            raise InputError(f"{name}: not a text file of whole numbers.")
        rows.append([int(word) for word in words])
    if not rows:
        raise InputError(f"{name}: holds no numbers.")
    return rows
