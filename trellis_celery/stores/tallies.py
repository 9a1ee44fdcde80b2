"""What stores count as they write, so that monitoring can ask them: names and amounts, kept by process type and step.

A store adds the amounts in the commit itself, so a change counts once however often it is sent, and never looks into
the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import OWN_RECORD
from trellis_celery.domain.queries import EventGroup, Lateness

#: The upper bounds of the histogram of `Lateness`, ms.
LATENESS_BOUNDS_MS = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)

_LATE_COUNT, _LATE_SUM, _LATE_UP_TO = "late", "late_ms", "late<="
_UNTRACKED = "untracked:"

#: The process type of what belongs to none: no process can have it.
NO_TYPE = ""


class Tally(NamedTuple):
    """So much is added to the number of this name, of this step."""

    step_name: str
    name: str
    amount: int


def tallies_of(events: Iterable[Event], lateness_ms: int | None = None) -> Iterator[Tally]:
    """What a commit of these events adds."""
    for event in events:
        yield Tally(event.step_name, _NAMES[event.kind], 1)
    if lateness_ms is not None:
        late_ms = max(lateness_ms, 0)
        yield Tally(OWN_RECORD, _LATE_COUNT, 1)
        yield Tally(OWN_RECORD, _LATE_SUM, late_ms)
        bound_ms = next((bound for bound in LATENESS_BOUNDS_MS if late_ms <= bound), None)
        if bound_ms is not None:
            yield Tally(OWN_RECORD, f"{_LATE_UP_TO}{bound_ms}", 1)


def tallies_of_untracked(counts: Mapping[str, int]) -> Iterator[Tally]:
    """What is added, of no type and no step, for what went on untracked."""
    for what, count in counts.items():
        yield Tally(OWN_RECORD, f"{_UNTRACKED}{what}", count)


class Total(NamedTuple):
    """A number as a store has it."""

    process_type: str
    step_name: str
    name: str
    amount: int


def events_of(totals: Sequence[Total]) -> Mapping[EventGroup, int]:
    """How many events of each kind there were. Names that this release does not know are passed over."""
    counts: dict[EventGroup, int] = {}
    for process_type, step_name, name, amount in totals:
        if name in _KINDS:
            group = EventGroup(process_type, step_name, _KINDS[name])
            counts[group] = counts.get(group, 0) + amount
    return counts


def lateness_of(totals: Sequence[Total]) -> Lateness:
    """The histogram over all types."""
    sums: dict[str, int] = {}
    for total in totals:
        sums[total.name] = sums.get(total.name, 0) + total.amount
    return Lateness(
        buckets={bound_ms: sums.get(f"{_LATE_UP_TO}{bound_ms}", 0) for bound_ms in LATENESS_BOUNDS_MS},
        count=sums.get(_LATE_COUNT, 0),
        sum_ms=sums.get(_LATE_SUM, 0),
    )


def untracked_of(totals: Sequence[Total]) -> Mapping[str, int]:
    """How often something went on untracked, by what it was."""
    counts: dict[str, int] = {}
    for total in totals:
        if total.name.startswith(_UNTRACKED):
            what = total.name.removeprefix(_UNTRACKED)
            counts[what] = counts.get(what, 0) + total.amount
    return counts


_KINDS = {kind.value: kind for kind in EventKind}
_NAMES = {kind: name for name, kind in _KINDS.items()}
