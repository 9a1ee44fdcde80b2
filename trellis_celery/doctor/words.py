"""How durations, sizes and lists read in a finding."""

from __future__ import annotations

from collections.abc import Collection

#: Of a long list so many are named.
_MOST_NAMED = 5

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_SIZES = (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10))


def duration(ms: float) -> str:
    """In its largest unit: "1.5 s", "15 min", "300 ms"."""
    for unit, size in _UNITS:
        if round(abs(ms) / size, 3) >= 1:
            return f"{_short(ms / size)} {unit}"
    return f"{_short(ms)} ms"


def size(count: int) -> str:
    for unit, bytes_ in _SIZES:
        if count >= bytes_:
            return f"{_short(count / bytes_)} {unit}"
    return f"{count} bytes"


def several(names: Collection[str], *, separator: str = ", ") -> str:
    """The names in their order, the first of many: "a, b and 7 more"."""
    named = list(names)[:_MOST_NAMED]
    left = len(names) - len(named)
    return separator.join(named) + (f" and {left} more" if left else "")


def count(number: int, one: str, many: str = "") -> str:
    """ "1 step", "2 steps", "12,000 processes"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
