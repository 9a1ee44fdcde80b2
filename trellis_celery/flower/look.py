"""What the pages and the JSON API read. Each function waits for the store: call it beside the event loop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import require_process_id
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Incident, ProcessSummary, Stats
from trellis_celery.domain.timeline import Timeline, timeline_of
from trellis_celery.flower.focus import Focus, focus_of
from trellis_celery.flower.query import Place, Query
from trellis_celery.plugin.arguments import arguments_of
from trellis_celery.plugin.extension import Trellis
from trellis_celery.ports import LastCheck

#: A list looks into so many steps of a process at the most to say what it waits for …
_MAX_STEPS_LOOKED_INTO = 200
#: … and spends so much time on that.
_LOOK_INTO_S = 1.5

#: The check is late after so many intervals without one.
LATE_AFTER_INTERVALS = 3


class Checks(Struct, frozen=True):
    """When steps were last looked for that are late or lost."""

    last: LastCheck
    now_ms: int
    interval_ms: int

    @property
    def is_late(self) -> bool:
        return self.now_ms - self.last.at_ms > LATE_AFTER_INTERVALS * self.interval_ms


class Row(Struct, frozen=True):
    summary: ProcessSummary
    #: None also for a process that was too large to look into, or if there was no time for it.
    focus: Focus | None


class Page(Struct, frozen=True):
    now_ms: int
    rows: Sequence[Row]
    #: Where the next page begins; None: this is the last.
    next: Place | None


class IncidentPage(Struct, frozen=True):
    now_ms: int
    incidents: Sequence[Incident]
    next: Place | None


class Story(Struct, frozen=True):
    """All of one process."""

    now_ms: int
    process: Process
    history: Sequence[Event]
    timeline: Timeline
    is_archived: bool
    #: Of the tasks, by step; only if `trellis_show_args` is set.
    arguments: Mapping[str, str]


def checks(trellis: Trellis) -> Checks:
    store = trellis.store
    return Checks(store.last_check(), store.now_ms(), trellis.settings.check_interval_ms)


def stats(trellis: Trellis) -> Stats:
    return trellis.processes.stats()


def page(trellis: Trellis, query: Query) -> Page:
    """The page of the list that the query asks for. Raises DefinitionError for a filter that makes no sense."""
    now_ms = trellis.store.now_ms()
    summaries, following = _summaries(trellis, query, now_ms)
    return Page(now_ms, _look_into(trellis, summaries), following)


def _summaries(trellis: Trellis, query: Query, now_ms: int) -> tuple[list[ProcessSummary], Place | None]:
    found: list[tuple[ProcessSummary, ProcessState | None]] = []
    for only, after in query.parts(now_ms):
        state = only.state if query.order == "state" else None
        wanted = query.limit + 1 - len(found)  # one more than the page, to know whether there is a next one
        position = after.position if after else None
        found += [(one, state) for one in trellis.processes.list_processes(only, limit=wanted, after=position)]
        if len(found) > query.limit:
            break
    shown = found[: query.limit]
    following = Place(shown[-1][0].position, shown[-1][1]) if len(found) > query.limit else None
    return [summary for summary, _ in shown], following


def _look_into(trellis: Trellis, summaries: Sequence[ProcessSummary]) -> list[Row]:
    end = time.monotonic() + _LOOK_INTO_S
    return [
        Row(summary, _focus(trellis, summary) if _is_worth_it(summary) and time.monotonic() < end else None)
        for summary in summaries
    ]


def _is_worth_it(summary: ProcessSummary) -> bool:
    is_over = summary.state in (ProcessState.COMPLETED, ProcessState.CANCELLED)
    return summary.steps_total <= _MAX_STEPS_LOOKED_INTO and not is_over


def _focus(trellis: Trellis, summary: ProcessSummary) -> Focus | None:
    try:
        return focus_of(trellis.store.load(summary.id))
    except (errors.ProcessNotFound, errors.CorruptRecord):  # one bad process does not hide the others
        return None


def incidents(trellis: Trellis, query: Query) -> IncidentPage:
    """Open incidents, those of the newest processes first. `limit` is of processes. Raises DefinitionError."""
    if query.order != "newest":
        raise errors.DefinitionError("incidents come in one order only, those of the newest processes first")
    now_ms = trellis.store.now_ms()
    only = replace(query.filter_at(now_ms), has_incident=True)
    after = query.after.position if query.after else None
    found = trellis.processes.incidents(only, limit=query.limit, after=after)
    reached = trellis.processes.list_processes(only, limit=query.limit + 1, after=after)
    following = Place(reached[query.limit - 1].position) if len(reached) > query.limit else None
    return IncidentPage(now_ms, found, following)


def story(trellis: Trellis, process_id: str) -> Story:
    """A process with its log, from the store or, if it is there no more, the archive. Raises ProcessNotFound."""
    now_ms = trellis.store.now_ms()
    process, history, is_archived = _find(trellis, require_process_id(process_id))
    until_ms = max((event.occurred_at_ms for event in history), default=now_ms) if is_archived else now_ms
    timeline = timeline_of(process, history, now_ms=until_ms)
    arguments = {} if is_archived else arguments_of(trellis, process.id, list(process.steps))
    return Story(now_ms, process, history, timeline, is_archived, arguments)


def _find(trellis: Trellis, process_id: str) -> tuple[Process, Sequence[Event], bool]:
    try:
        return trellis.processes.get_process(process_id), trellis.processes.history(process_id), False
    except errors.ProcessNotFound:
        if not trellis.settings.history_url:
            raise
    return trellis.history.get_process(process_id), trellis.history.history(process_id), True
