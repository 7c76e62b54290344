"""A stranger's text made fit to be shown: whatever steers a terminal or starts a line is escaped, long is cut."""

from __future__ import annotations

import re

#: An error is at most two lines and this many characters.
MESSAGE_CHARACTERS = 1000
#: C0 and C1 controls, line and paragraph separators, zero-width marks, what turns the reading direction; surrogates.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
#: What GitHub Actions obeys: ``::`` where a line begins, ``##[`` anywhere.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)")


def printable(text: str) -> str:
    r"""Escape every character that would steer a terminal, begin a line or turn the text around.

    >>> printable("a\x1b[31m\r\n::error::")
    'a\\x1b[31m\\x0d\\x0a::error::'
    """
    return _STEERING.sub(lambda found: _escape(found.group()), text)


def printable_lines(text: str) -> str:
    r"""The same for a text of our own several lines, whose strangers' parts were made printable before.

    >>> printable_lines("expected 3\n  reproduce: a\tb")
    'expected 3\n  reproduce: a\\x09b'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def shortened(text: str, limit: int) -> str:
    """Cut a text in the middle to at most ``limit`` characters; its end often says what to do.

    >>> shortened("abcdefghij", 7)
    'abc … j'
    """
    if len(text) <= limit:
        return text
    end = (limit - 3) // 3
    return f"{text[: limit - 3 - end]} … {text[len(text) - end :]}"


def message(text: str, strangers: tuple[str, ...] = ()) -> str:
    r"""An error or warning as it may stand on stderr: two lines at most, nothing in them that steers or commands.

    Parameters
    ----------
    text : str
    strangers : tuple of str
        Words of the command line; a line break inside one of them is not one of ours.

    >>> message("no file 'a\n::error::b' here.", ("a\n::error::b",))
    "no file 'a\\x0a::error::b' here."
    >>> message("first\n::error::second\nthird")
    'first\n\\x3a:error::second third'
    """
    for word in strangers:
        for part in (word, word.partition("=")[2]):
            if "\n" in part:
                text = text.replace(part, printable(part))
    first, *rest = [printable(line) for line in text.split("\n") if line.strip()] or [""]
    lines = [first, " ".join(rest)] if rest else [first]
    room = MESSAGE_CHARACTERS - 1
    first = shortened(lines[0], room if len(lines) == 1 else max(600, room - len(lines[1]) - 1))
    lines = [first, *(shortened(line, room - len(first) - 1) for line in lines[1:])]
    return "\n".join(_COMMAND.sub(_harmless, line) for line in lines)


def _harmless(found: re.Match[str]) -> str:
    return "##\\" if found.group().startswith("##") else f"{found.group(1)}\\x3a"
