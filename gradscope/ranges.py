"""Ranges as users write them: ``1,5,10``, ``0:50:5``, ``0.5:1.5:0.1``, ``log:0.1:10:5``; both ends in, no drift."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation, localcontext

from gradscope.errors import UsageError

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: The least that a command line may ask for: below it, a unit was forgotten.
LEAST_BYTES = 2**20
#: A range of more points than this is a slip of the keyboard.
MAX_POINTS = 10_000_000


def _decimal(text: str, whole: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise UsageError(f"'{text}' in '{whole}': wanted a number, a:b or a:b:step.") from None
    if not value.is_finite():
        raise UsageError(f"'{text}' in '{whole}': wanted a finite number.")
    return value


def decimal_range(text: str) -> list[Decimal]:
    """Expand one number, ``a:b`` (step 1) or ``a:b:step``, both ends included when the step hits them.

    Decimal arithmetic, so that 0.5:1.5:0.1 is eleven points and the last one is 1.5.

    >>> [str(v) for v in decimal_range("0.5:0.8:0.1")]
    ['0.5', '0.6', '0.7', '0.8']

    Raises
    ------
    UsageError
        Not a number, a zero step, or a step that leads away from the end.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(part.strip() for part in parts):
        raise UsageError(f"'{text}': wanted a number, a:b or a:b:step.")
    numbers = [_decimal(part, text) for part in parts]
    if len(numbers) == 1:
        return numbers
    first, last = numbers[:2]
    step = numbers[2] if len(numbers) == 3 else Decimal(1)
    if step == 0 or (last - first) * step < 0:
        raise UsageError(f"'{text}': a step of {step} never leads from {first} to {last}.")
    count = int((last - first) / step) + 1
    if count > MAX_POINTS:
        raise UsageError(f"'{text}' has {count} points; at most {MAX_POINTS}.")
    return [first + index * step for index in range(count)]


def whole_numbers(text: str) -> tuple[int, ...]:
    """Expand a comma list of numbers and ranges into ascending, distinct whole numbers ≥ 0.

    >>> whole_numbers("0:10:5,7")
    (0, 5, 7, 10)
    """
    found: set[int] = set()
    for part in text.split(","):
        for value in decimal_range(part):
            if value != int(value) or value < 0:
                raise UsageError(f"'{part}' in '{text}': wanted whole numbers ≥ 0.")
            found.add(int(value))
    return tuple(sorted(found))


def log_range(text: str) -> list[Decimal]:
    """Expand ``log:a:b:n``: n values with equal ratios, both ends included, to twelve significant digits.

    Decimal logarithms, so that every machine gets the same values.

    >>> [float(v) for v in log_range("log:0.01:100:5")]
    [0.01, 0.1, 1.0, 10.0, 100.0]

    Raises
    ------
    UsageError
        Not three parts, an end that is not above 0, or fewer than two values.
    """
    parts = text.removeprefix("log:").split(":")
    if len(parts) != 3:
        raise UsageError(f"'{text}': wanted log:FIRST:LAST:COUNT, for example log:0.1:10:5.")
    first, last, wanted = (_decimal(part, text) for part in parts)
    if first <= 0 or last <= 0:
        raise UsageError(f"'{text}': a logarithmic range runs between numbers above 0.")
    if wanted != int(wanted) or not 2 <= wanted <= MAX_POINTS:
        raise UsageError(f"'{text}': wanted a count of 2 to {MAX_POINTS}, got {wanted}.")
    count = int(wanted)
    inner = []
    with localcontext(prec=50):
        ratio = last.ln() - first.ln()
        for index in range(1, count - 1):
            value = (first.ln() + ratio * index / (count - 1)).exp()
            inner.append(Context(prec=12).plus(value).normalize())
    return [first, *inner, last]


def size_in_bytes(text: str) -> int:
    """Read a size of memory: ``500M``, ``2G``, ``1.5GiB``, ``1073741824``.

    >>> size_in_bytes("2G"), size_in_bytes("512MiB")
    (2147483648, 536870912)

    Raises
    ------
    UsageError
        No size, or less than a megabyte.
    """
    word = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = word[-1:] if word[-1:].isalpha() else ""
    try:
        size = int(float(word.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"'{text}' is no size: write 500M or 2G") from None
    if size < LEAST_BYTES:
        raise UsageError(f"'{text}' is less than 1M")
    return size
