"""From what was read of a store to the values of the metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import EventGroup, Lateness, Stats
from trellis_celery.monitoring import metrics
from trellis_celery.monitoring.cardinality import Names
from trellis_celery.monitoring.metrics import Metric
from trellis_celery.monitoring.readings import PARTS, Backlog
from trellis_celery.monitoring.scrapes import NO_ANSWER, Scrape

Labels = tuple[str, ...]


class Buckets(NamedTuple):
    """A histogram's value."""

    #: How many took no longer than each upper bound, in seconds; the last bound is infinite.
    up_to: tuple[tuple[float, int], ...]
    sum_s: float


class Samples(NamedTuple):
    """A metric and what it is, for each set of values of its labels."""

    metric: Metric
    values: Mapping[Labels, float | Buckets]


def samples_of(scrape: Scrape, names: Names, *, check_interval_ms: int) -> Iterator[Samples]:
    """Metrics of which nothing is known are left out: what was true some time ago must not pass for news."""
    reading = scrape.reading
    yield _one(metrics.STORE_UP, int(reading.is_up))
    yield Samples(metrics.READ_ERRORS, {(part,): scrape.errors.get(part, 0) for part in PARTS})
    yield _one(metrics.CHECK_INTERVAL, check_interval_ms / 1000)
    if reading is not NO_ANSWER:
        yield _one(metrics.READ_SECONDS, reading.duration_s)
        yield _one(metrics.READ_AGE, scrape.age_s)
    if reading.last_check_age_ms is not None:
        yield _one(metrics.CHECK_AGE, reading.last_check_age_ms / 1000)
    yield from _backlog(metrics.OUTBOX, metrics.OUTBOX_AGE, reading.outbox)
    yield from _backlog(metrics.ARCHIVE, metrics.ARCHIVE_AGE, reading.archive)
    if reading.stats is not None:
        yield from _stats(reading.stats, names)


def _one(metric: Metric, value: float) -> Samples:
    return Samples(metric, {(): value})


def _backlog(count: Metric, age: Metric, backlog: Backlog | None) -> Iterator[Samples]:
    if backlog is not None:
        yield _one(count, backlog.count)
        yield _one(age, backlog.age_ms / 1000)


def _stats(stats: Stats, names: Names) -> Iterator[Samples]:
    names.learn((group.process_type for group in stats.processes), stats.events)
    yield _one(metrics.DUE, stats.due)
    yield from _processes(stats, names)
    yield from _events(stats, names)
    if stats.lateness.buckets:
        yield Samples(metrics.LATENESS, {(): _buckets(stats.lateness)})
    if stats.untracked is not None:
        untracked = dict.fromkeys(metrics.UNTRACKED_WHAT, 0) | dict(stats.untracked)
        yield Samples(metrics.UNTRACKED, {(what,): count for what, count in untracked.items()})


def _processes(stats: Stats, names: Names) -> Iterator[Samples]:
    """Each known type has a number in every state, so that one that no process is in any more falls to 0."""
    types = sorted(
        {names.process_type(group.process_type) for group in stats.processes}
        | {names.process_type(group.process_type) for group in stats.events}
    )
    by_state: Counter[Labels] = Counter(dict.fromkeys(product(types, map(str, ProcessState)), 0))
    overdue: Counter[Labels] = Counter({(name,): 0 for name in types})
    with_incident = overdue.copy()
    for group, count in stats.processes.items():
        name = names.process_type(group.process_type)
        by_state[name, str(group.state)] += count
        overdue[name,] += count * group.is_overdue
        with_incident[name,] += count * group.has_incident
    yield Samples(metrics.PROCESSES, by_state)
    yield Samples(metrics.OVERDUE, overdue)
    yield Samples(metrics.WITH_INCIDENT, with_incident)


def _events(stats: Stats, names: Names) -> Iterator[Samples]:
    """Whatever something has happened to has a number of every kind: a counter that appears as 1 has not risen."""
    counts: Counter[tuple[EventKind, Labels]] = Counter()
    for group, count in stats.events.items():
        counts[group.kind, _labels(names, group)] += count
    seen = sorted({labels for _, labels in counts})
    for kind, metric in metrics.OF_EVENTS.items():
        values = {labels: counts[kind, labels] for labels in seen if len(labels) == len(metric.labels)}
        if values:
            yield Samples(metric, values)


def _labels(names: Names, group: EventGroup) -> Labels:
    """Of a step, or of the process itself."""
    if group.step_name:
        return names.step(group.process_type, group.step_name)
    return (names.process_type(group.process_type),)


def _buckets(lateness: Lateness) -> Buckets:
    up_to, seen = [], 0
    for bound_ms, count in sorted(lateness.buckets.items()):
        seen += count
        up_to.append((bound_ms / 1000, seen))
    return Buckets((*up_to, (math.inf, lateness.count)), lateness.sum_ms / 1000)
