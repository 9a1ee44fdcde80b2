"""Whether all that a store says agrees with itself, and whether two moments of it are the same.

The audit asks through the port only. It knows how much must have been logged because the tests that use it log each
change once, and whether there must be a message because they send each step with one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import OWN_ENDS, OWN_RECORD, Process, ProcessState, process_event
from trellis_celery.domain.queries import Finished, ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Due, ProcessStore, StepKey
from trellis_celery.testing.contract.builders import MINUTE_MS

#: Everything that has a time is due by then, epoch ms.
END_OF_TIME_MS = 4_000_000_000_000
_ALL = 100_000
_PAGE = 100


def assert_consistent(store: ProcessStore, process_ids: Iterable[str], *, may_be_claimed_again: bool = False) -> None:
    """Every part of the store tells the same, and each process is there as a whole or not at all.

    `process_ids`: all that the store may have. Every change must have logged one event, and every queued step must have
    been given a message. `may_be_claimed_again`: a claim may have run out before it was settled; then its step was
    claimed once more, a change that logs nothing.
    """
    stored = {process_id: process for process_id in process_ids if (process := stored_process(store, process_id))}
    _assert_lists(store, stored)
    _assert_finished(store, stored)
    _assert_clocks(store, stored)
    for process in stored.values():
        _assert_process(store, process, may_be_claimed_again=may_be_claimed_again)
    for process_id in set(process_ids) - set(stored):
        assert store.load_steps([StepKey(process_id, OWN_RECORD)]) == [None]
        assert store.history(process_id) == []


def stored_process(store: ProcessStore, process_id: str) -> Process | None:
    try:
        return store.load(process_id)
    except errors.ProcessNotFound:
        return None


def _assert_lists(store: ProcessStore, stored: dict[str, Process]) -> None:
    summaries = {process_id: ProcessSummary.of(process) for process_id, process in stored.items()}
    listed = all_listed(store)
    assert [each.id for each in listed] == sorted(
        summaries, key=lambda process_id: summaries[process_id].position, reverse=True
    )
    for each in listed:
        assert each == summaries[each.id], "a list says something else than the process"
    for state in ProcessState:
        in_state = {process_id for process_id, process in stored.items() if process.state is state}
        assert {each.id for each in all_listed(store, ProcessFilter(state=state))} == in_state, state
    overdue = {process_id for process_id, each in stored.items() if each.is_overdue and not each.state.is_terminal}
    assert {each.id for each in all_listed(store, ProcessFilter(is_overdue=True))} == overdue


def all_listed(store: ProcessStore, only: ProcessFilter | None = None) -> list[ProcessSummary]:
    """Read page by page."""
    only = only or ProcessFilter()
    page = everything = store.list_processes(only, limit=_PAGE)
    while page:
        page = store.list_processes(only, limit=_PAGE, after=page[-1].position)
        everything = everything + page
    return everything


def _assert_finished(store: ProcessStore, stored: dict[str, Process]) -> None:
    waiting, archived = (store.finished(is_archived=is_archived, limit=_ALL) for is_archived in (False, True))
    assert store.count_finished(is_archived=False) == len(waiting)
    assert store.count_finished(is_archived=True) == len(archived)
    terminal = [process_id for process_id, process in stored.items() if process.state.is_terminal]
    assert sorted(each.process_id for each in (*waiting, *archived)) == sorted(terminal)


def _assert_clocks(store: ProcessStore, stored: dict[str, Process]) -> None:
    due = store.due(now_ms=END_OF_TIME_MS, limit=_ALL)
    deadlines, leases = [], []
    for process_id, process in stored.items():
        for record in (process.own, *process.steps.values()):
            key = StepKey(process_id, record.name)
            deadlines += [key] if record.deadline_ms is not None else []
            leases += [(key, record.attempt)] if record.is_leased else []
    assert sorted(item.key for item in due if item.lapsed_attempt is None) == sorted(deadlines)
    assert sorted((item.key, item.lapsed_attempt) for item in due if item.lapsed_attempt is not None) == sorted(leases)


def _assert_process(store: ProcessStore, process: Process, *, may_be_claimed_again: bool) -> None:
    records = [process.own, *process.steps.values()]
    keys = [StepKey(process.id, record.name) for record in records]
    assert store.load_steps(keys) == records

    history = store.history(process.id)
    assert [event.kind for event in history].count(EventKind.PROCESS_STARTED) == 1
    logged = Counter(event.step_name for event in history if event.kind not in (EventKind.PROCESS_STARTED, *OWN_ENDS))
    written = Counter({record.name: record.version - 1 for record in records if record.version > 1})
    assert logged <= written if may_be_claimed_again else logged == written

    ends = [event.kind for event in history if event.kind in OWN_ENDS]
    is_ended = process_event(ProcessState.PENDING, process.state, 0)
    if is_ended is not None:
        assert ends[-1:] == [is_ended.kind], "the log does not tell how the process ended"
    elif EventKind.STEP_REOPENED not in {event.kind for event in history}:
        assert ends == [], "the log tells of an end that there was not"

    holder = store.find(process.key)
    if process.state.is_terminal:
        assert holder != process.id, "a finished process holds its business key"
    elif EventKind.STEP_REOPENED not in {event.kind for event in history}:  # one that was may have lost it to another
        assert holder == process.id, "a live process does not hold its business key"

    queued = {event.step_name for event in history if event.kind is EventKind.STEP_QUEUED}
    for record, message in zip(records, store.load_messages(keys), strict=True):
        assert (message is not None) == (record.needs_message and record.name in queued), record.name


def snapshot(store: ProcessStore, processes: Sequence[Process]) -> dict[str, Any]:
    """All that the store tells of itself and of these processes."""
    keys = [StepKey(process.id, name) for process in processes for name in (OWN_RECORD, *process.steps)]
    loaded: list[ProcessStep | Exception | None] = store.load_steps(keys)
    soon_ms = processes[0].started_at_ms + 5 * MINUTE_MS
    due: list[list[Due]] = [store.due(now_ms=now_ms, limit=_ALL) for now_ms in (soon_ms, END_OF_TIME_MS)]
    finished: list[list[Finished]] = [store.finished(is_archived=each, limit=_ALL) for each in (False, True)]
    return {
        "processes": [stored_process(store, process.id) for process in processes],
        "live": [store.find(process.key) for process in processes],
        "records": loaded,
        "messages": store.load_messages(keys),
        "history": [store.history(process.id) for process in processes],
        "lists": [all_listed(store, ProcessFilter(state=state)) for state in (None, *ProcessState)],
        "due": [sorted(each, key=repr) for each in due],
        "finished": finished,
        "last check": store.last_check(),
    }
