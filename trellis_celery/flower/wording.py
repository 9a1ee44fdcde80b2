"""Times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


def duration(ms: int) -> str:
    """In its largest unit and, up to ten of that, the next: "4.2 s", "3 min 20 s", "12 d"."""
    ms = max(ms, 0)
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    place = next(place for place, (_, size) in enumerate(_UNITS) if ms >= size)
    unit, size = _UNITS[place]
    whole, rest = divmod(ms, size)
    if whole >= 10 or place + 1 == len(_UNITS):
        return f"{whole} {unit}"
    next_unit, next_size = _UNITS[place + 1]
    return f"{whole} {unit} {rest // next_size} {next_unit}" if rest >= next_size else f"{whole} {unit}"


def since(at_ms: int, now_ms: int) -> str:
    """A time beside now: "3 min ago", "in 2 h"."""
    return f"in {duration(at_ms - now_ms)}" if at_ms > now_ms else f"{duration(now_ms - at_ms)} ago"


def so_long(at_ms: int, now_ms: int, *, goes_on: bool) -> str:
    """How long something has been so, or since when it is over: "for 3 min", "3 min ago"."""
    return f"for {duration(now_ms - at_ms)}" if goes_on and at_ms <= now_ms else since(at_ms, now_ms)


def moment(at_ms: int) -> str:
    """A time for reading, in UTC: "2026-01-31 12:03:04.250"."""
    return _utc(at_ms).strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03d}"


def iso(at_ms: int) -> str:
    """A time for programs, in UTC."""
    return _utc(at_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


_LAST_MS = 253_402_300_799_999  # the end of the year 9999, beyond which there are no dates


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(at_ms, 0), _LAST_MS) // 1000, tz=UTC)


def count(number: int) -> str:
    return f"{number:,}"
