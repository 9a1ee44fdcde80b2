"""How times read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGE_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def ago(elapsed_ms: int) -> str:
    """An elapsed time in its largest unit; what lies ahead reads "in …"."""
    text = roughly(abs(elapsed_ms))
    return f"in {text}" if elapsed_ms < 0 else f"{text} ago"


def roughly(duration_ms: int) -> str:
    """A duration in its largest unit."""
    seconds = duration_ms / 1000
    for unit, size in _LARGE_UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def exactly(duration_ms: int) -> str:
    """A duration as one would have written it: "1 h 30 min", "250 ms"."""
    seconds, ms = divmod(duration_ms, 1000)
    parts = []
    for unit, size in (*_LARGE_UNITS, ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count} {unit}"] if count else []
    parts += [f"{ms} ms"] if ms else []
    return " ".join(parts) or "0 s"


def moment(at_ms: int) -> str:
    """A point in time, in UTC."""
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms after 1970"
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
