"""A dot canvas for the terminal: braille (2 x 4 dots in a cell), or one dot per cell in ASCII, and letters on top."""

from __future__ import annotations

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode 15, table of Braille Patterns


class Canvas:
    """``columns`` x ``rows`` cells; coordinates run from 0 to 1, y upwards."""

    def __init__(self, columns: int, rows: int, *, unicode: bool = True) -> None:
        self.columns, self.rows, self.unicode = columns, rows, unicode
        self._across, self._down = (2, 4) if unicode else (1, 1)
        self._dots = [[0] * columns for _ in range(rows)]
        self._letters: dict[tuple[int, int], str] = {}

    def _place(self, x: float, y: float) -> tuple[int, int]:
        width, height = self.columns * self._across, self.rows * self._down
        return min(width - 1, int(x * width)), min(height - 1, int((1 - y) * height))

    def dot(self, x: float, y: float) -> None:
        """Set one dot; outside of the canvas nothing happens."""
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return
        px, py = self._place(x, y)
        bit = _DOTS[py % 4][px % 2] if self.unicode else 1
        self._dots[py // self._down][px // self._across] |= bit

    def line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Set the dots from one point to another."""
        steps = max(
            1,
            2 * round(abs(x1 - x0) * self.columns * self._across),
            min(4 * self.rows * self._down, 2 * round(abs(y1 - y0) * self.rows * self._down)),
        )
        for i in range(steps + 1):
            self.dot(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps)

    def letter(self, x: float, y: float, letter: str, *, over: bool = True) -> None:
        """Put a letter on a cell; ``over=False`` leaves dots and earlier letters alone."""
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return
        px, py = self._place(x, y)
        cell = (py // self._down, px // self._across)
        if over or (cell not in self._letters and not self._dots[cell[0]][cell[1]]):
            self._letters[cell] = letter

    def lines(self) -> list[str]:
        """The canvas as text, a string per row."""
        out = []
        for r, row in enumerate(self._dots):
            text = ""
            for c, bits in enumerate(row):
                letter = self._letters.get((r, c))
                blank = chr(0x2800 + bits) if self.unicode else "*"
                text += letter or (blank if bits else " ")
            out.append(text.rstrip())
        return out
