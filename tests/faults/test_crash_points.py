"""Every operation is killed before and after every command it sends, and each reply is lost; then all recover.

What is killed is a program that does one operation, at each command that it sends to Redis; see `crash_points` for
what counts as one, and what a lost reply is. It is no worker and no beat: those are started when all is over, to
recover what can be recovered. The operations are in `crash_operations`.

Nothing may be lost. A process whose start was answered is there; what an operation told its caller that it did is done,
and stays so; what was sent, or was begun, comes to its end without its caller; who is not answered may call again, and
gets what was asked for; the archive has all that is finished, and a subscriber has heard all that is logged, in order.

Nothing may count twice. A business key has one process; an attempt is started once, and again only after its run has
let go of it; an attempt times out, fails and is given up once; a step is completed, cancelled and reopened once; and
each event is counted once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash_bench import TENANT, Bench
from tests.faults.crash_operations import OPERATIONS
from tests.faults.crash_points import MOST_COMMANDS, Ending, Moment, come_to_grief
from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import Event, EventKind, ProcessFilter, ProcessHandle, errors
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.connect import engine_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

APP = "tests.support.apps.crashing"
#: There were 1073 when this was written. That operations send fewer commands is well, that one is left out is not.
FEWEST_POINTS = 900


@pytest.fixture
def cluster(
    start_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    monkeypatch.setenv("CRASHING_HISTORY", url)
    engine = engine_for(url, timeout_ms=20_000)
    schema.migrate(engine)
    engine.dispose()
    made = start_cluster(APP)
    yield made
    made.close()


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(cluster, tmp_path)
    yield made
    made.close()


@dataclass
class Report:
    points: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    events: int = 0
    archived: int = 0
    heard: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    seconds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Promise:
    """Something that is to be so when all have recovered."""

    text: str
    is_true: Callable[[], object]

    def is_kept(self) -> bool:
        try:
            return bool(self.is_true())
        except errors.ProcessNotFound:
            return False


@pytest.mark.fault("C3", "C5", "B11")
def test_no_crash_point_loses_a_step_or_counts_one_twice(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    promises = [promise for name in OPERATIONS for promise in _killed_everywhere(bench, name, report)]

    _recover(bench, promises, report)
    _judge(bench, promises, report)

    with capsys.disabled():
        print(f"\n{report.points.total()} crash points: {dict(report.points)}")
        print(f"{report.processes} processes, {report.events} events, {report.heard} heard, {report.archived} archived")
        print(f"lost: {report.lost}, twice: {report.twice}; seconds: {report.seconds}")
    assert (report.lost, report.twice) == ([], [])
    assert report.points.total() >= FEWEST_POINTS


def _killed_everywhere(bench: Bench, name: str, report: Report) -> Iterator[Promise]:
    """Do the operation anew for each point; what is to come of each."""
    begun = time.monotonic()
    for moment in Moment:
        for point in range(1, MOST_COMMANDS):
            operation = OPERATIONS[name](bench)
            ending = come_to_grief(bench.cluster.app, operation.do, point=point, moment=moment)
            what = f"{name}, command {point}: {moment}"
            if not ending.is_accepted and operation.is_repeated:
                operation.repeat()
            if ending.is_accepted or operation.is_repeated:
                done = Promise(f"{what}; it was said to be done", operation.has_happened)
                if not done.is_kept():
                    report.lost.append(f"{done.text}, and at once is not")
                yield done
            yield Promise(what, operation.comes_to)
            if ending is Ending.UNHARMED:
                break
            report.points[name] += 1
        else:
            pytest.fail(f"{name} never ends")
    report.seconds[name] = round(time.monotonic() - begun)
    assert report.points[name] >= 3, f"{name} sends nothing"


def _recover(bench: Bench, promises: list[Promise], report: Report) -> None:
    """Everybody is there again: workers, checks, relays and archivers. They stop when there is nothing left to do."""
    begun = time.monotonic()
    worker = bench.cluster.worker("-B", "-s", str(Path(bench.cluster._directory) / "schedule"))
    pending = list(promises)

    def is_recovered() -> bool:
        pending[:] = [promise for promise in pending if not promise.is_kept()]
        return not pending and not _waiting(bench)

    with suppress(AssertionError):
        eventually(is_recovered, within_s=75, every_s=0.5, what="recovered")
    worker.stop(within_s=15)
    report.lost += _waiting(bench)
    bench.trellis.relay.relay()  # of what happened while the last of them stopped
    bench.trellis.history.archive_and_remove()
    report.seconds["recover"] = round(time.monotonic() - begun)


def _waiting(bench: Bench) -> list[str]:
    store = bench.trellis.store
    waiting = {"not relayed": store.unrelayed()[0], "not archived": store.count_finished(is_archived=False)}
    return [f"{count} processes are {what}" for what, count in waiting.items() if count]


def _judge(bench: Bench, promises: list[Promise], report: Report) -> None:
    report.lost += [promise.text for promise in promises if not promise.is_kept()]
    live = _live(bench, report)
    report.lost += [f"process {gone} is gone" for gone in bench.stored_ids - live.keys()]
    heard, archived = bench.heard(), _archived_ids(bench)
    report.processes, report.archived = len(live), archived.total()
    report.heard = sum(len(each) for each in heard.values())
    report.twice += [f"{process_id} has {count} rows" for process_id, count in archived.items() if count > 1]
    report.twice += [f"{unknown} is archived, and was not there" for unknown in archived.keys() - live.keys()]
    logged: Counter[EventKind] = Counter()
    for handle in live.values():
        history = handle.history()
        logged.update(event.kind for event in history)
        report.twice += _twice(handle, history)
        if not _is_heard(history, heard.get(handle.id, [])):
            report.lost.append(f"{handle.id}: not all of its events were heard in order")
        if handle.state.is_terminal and not _is_archived(bench, handle, history):
            report.lost.append(f"{handle.id}: the archive has it otherwise")
    report.events = logged.total()
    counted: Counter[EventKind] = Counter()
    for group, count in bench.trellis.processes.stats().events.items():
        counted[group.kind] += count
    report.twice += [f"{kind} is counted {counted[kind]}, logged {logged[kind]}" for kind in counted | logged
                     if counted[kind] != logged[kind]]  # fmt: skip


def _live(bench: Bench, report: Report) -> dict[str, ProcessHandle]:
    """All that the store has, also of programs that were killed before they had their answer."""
    summaries: list[Any] = []
    only = ProcessFilter(tenant_id=TENANT)
    while page := bench.trellis.list_processes(only, limit=200, after=summaries[-1].position if summaries else None):
        summaries += page
    of_keys = Counter(summary.key.aggregate_id for summary in summaries)
    report.twice += [f"business key {key} has {count} processes" for key, count in of_keys.items() if count > 1]
    report.twice += [f"nobody has started {key}" for key in of_keys.keys() - bench.keys]
    return {summary.id: bench.trellis.get_process(summary.id) for summary in summaries}


def _archived_ids(bench: Bench) -> Counter[str]:
    rows: list[Any] = []
    while page := bench.trellis.history.list_processes(limit=200, after=rows[-1].position if rows else None):
        rows += page
    return Counter(row.id for row in rows)


def _is_archived(bench: Bench, handle: ProcessHandle, history: list[Event]) -> bool:
    try:
        kept = bench.trellis.history.get_process(handle.id)
    except errors.ProcessNotFound:
        return False
    return bool(kept.steps == handle.steps and bench.trellis.history.history(handle.id) == history)


def _is_heard(history: list[Event], heard: list[tuple[int, str, str, int]]) -> bool:
    """Whether a subscriber that passes over what it has heard already has heard the log as it is."""
    first = list(dict.fromkeys(heard))
    return first == [
        (number, event.kind.value, event.step_name, event.attempt) for number, event in enumerate(history, start=1)
    ]


_OF_AN_ATTEMPT = (EventKind.STEP_STARTED, EventKind.STEP_TIMED_OUT, EventKind.STEP_FAILED, EventKind.STEP_GAVE_UP)
_OF_A_STEP = (
    EventKind.STEP_COMPLETED,
    EventKind.STEP_CANCELLED,
    EventKind.STEP_REOPENED,
    EventKind.INCIDENT_CLOSED,
    EventKind.PROCESS_STARTED,
    EventKind.PROCESS_OVERDUE,
    EventKind.PROCESS_COMPLETED,
    EventKind.PROCESS_CANCELLED,
)
_LETS_GO = (EventKind.STEP_RELEASED, EventKind.STEP_HANDED_OVER, EventKind.STEP_RETRYING)


def _twice(handle: ProcessHandle, history: list[Event]) -> list[str]:
    """What happened more often than it may. A run that lets go of its attempt allows one more start of it."""
    seen = Counter(
        (event.kind, event.step_name, event.attempt if event.kind in _OF_AN_ATTEMPT else 0)
        for event in history
        if event.kind in _OF_AN_ATTEMPT + _OF_A_STEP
    )
    for event in history:
        if event.kind in _LETS_GO:
            seen[EventKind.STEP_STARTED, event.step_name, event.attempt] -= 1
    return [f"{handle.id} {kind} {step} {count} times" for (kind, step, _), count in seen.items() if count > 1]
