"""Start processes, move their steps, and look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import by_hand, outcomes
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey, require_process_id, require_text
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import Incident, Position, ProcessFilter, ProcessSummary, Stats, incident_of
from trellis_celery.domain.step import ProcessStep, StepState, require_count
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.domain.transitions import Rule, Transition
from trellis_celery.ports import EVERYTHING, EventSink, ProcessStore, StepKey
from trellis_celery.repositories import ProcessRepository, RepositoryStore, StepTrackerRepository
from trellis_celery.services.recorder import Recorder

#: Processes that are read at once, at the most.
MAX_LIMIT = 1_000_000


class ProcessService:
    """The operations on processes.

    Over a store, or over a process repository and, for steps with timeouts, a tracker repository. Methods that take a
    process take the object or its id; an object is brought up to date.
    """

    def __init__(
        self,
        store: ProcessStore | ProcessRepository,
        tracker_repository: StepTrackerRepository | None = None,
        *,
        sinks: Sequence[EventSink] = (),
        announces: bool = False,
    ) -> None:
        if isinstance(store, ProcessRepository):
            store = RepositoryStore(store, tracker_repository)
        self.store: ProcessStore = store
        self._recorder = Recorder(store, sinks=sinks, announces=announces)
        self._announces = announces

    def start_process(
        self,
        *,
        tenant_id: str,
        process_type: str,
        aggregate_type: str,
        aggregate_id: str,
        steps: Sequence[ProcessStep],
        deadline_ms: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        if_exists: Literal["return", "raise"] = "return",
        traceparent: str | None = None,
    ) -> Process:
        """Start a process, or return the live one with the same tenant, type and aggregate.

        `if_exists="raise"` raises ProcessExists instead of returning it. `traceparent`: what starts it in a trace.
        """
        if if_exists not in ("return", "raise"):
            raise errors.DefinitionError(f"if_exists must be 'return' or 'raise', not {if_exists!r}")
        process = Process.start(
            tenant_id=tenant_id,
            process_type=process_type,
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
            steps=steps,
            deadline_ms=deadline_ms,
            metadata=metadata,
            traceparent=traceparent,
            now_ms=self.store.now_ms(),
        )
        gone_id: str | None = None
        create = partial(self.store.create, process, is_announced=self._announces)
        while (live_id := create(replaces=gone_id)) != process.id:
            try:
                existing = self.store.load(live_id)
            except errors.ProcessNotFound:  # the business key outlived its process
                gone_id = live_id
                continue
            if if_exists == "raise":
                raise errors.ProcessExists(process_id=live_id)
            return existing
        self._recorder.tell(process.id, Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms))
        return process

    def get_process(self, process_id: str) -> Process:
        """The process as it is now. Raises ProcessNotFound."""
        return self.store.load(require_process_id(process_id))

    def find_process(
        self, *, tenant_id: str, process_type: str, aggregate_type: str, aggregate_id: str
    ) -> Process | None:
        """The live process with this business key, if there is one."""
        key = BusinessKey(
            tenant_id=tenant_id, process_type=process_type, aggregate_type=aggregate_type, aggregate_id=aggregate_id
        )
        process_id = self.store.find(key)
        try:
            return None if process_id is None else self.store.load(process_id)
        except errors.ProcessNotFound:  # deleted meanwhile
            return None

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        """Processes, newest first; `after`: those behind the `position` of the last one of the page before."""
        return self.store.list_processes(only, limit=require_count("limit", limit, MAX_LIMIT), after=after)

    def history(self, process: Process | str) -> list[Event]:
        """Everything that happened to the process, oldest first."""
        return self.store.history(_id(process))

    def start_step(self, process: Process | str, step_name: str) -> StepTracker | None:
        """Start a step that no task runs, or its next attempt. Returns its tracker if it has a timeout."""
        step = self._apply(process, step_name, by_hand.start).after
        return StepTracker(_id(process), step) if step.has_timeout() else None

    def complete_step(self, process: Process | str, step_name: str, *, by: str = "", reopen: bool = False) -> None:
        """Complete a step, started or not. Does nothing to a completed one; raises InvalidTransition if it failed.

        `reopen`: complete a failed one as well, because what it is about was done in another way. Nothing is sent.
        Raises ProcessExists if another process is live for the business key by now.
        """
        require_text("by", by)
        if reopen and self.get_process(_id(process)).step(step_name).state is StepState.FAILED:
            self._require_key(process)
        self._apply(process, step_name, partial(by_hand.complete, by=by, reopen=reopen))

    def fail_step(self, process: Process | str, step_name: str, error: str, *, by: str = "") -> None:
        """Fail a step. Does nothing to a failed one; raises InvalidTransition if it was completed or cancelled."""
        require_text("error", error)
        self._apply(process, step_name, partial(by_hand.fail, error=error, by=require_text("by", by)))

    def retry_step(self, process: Process | str, step_name: str, *, by: str = "") -> None:
        """Try a step again that has failed or was given up, as a new attempt with all its retries.

        The next check sends its task; a step that no task does has to be started or completed as before. Raises
        InvalidTransition for any other step, ProcessExists if another process is live for the business key by now.
        """
        require_text("by", by)
        self._require_key(process)
        (message,) = self.store.load_messages([StepKey(_id(process), step_name)])
        self._apply(process, step_name, partial(outcomes.reopen, has_message=message is not None, by=by))

    def _require_key(self, process: Process | str) -> None:
        """Raises ProcessExists if another process is live for the business key: one that has ended cannot be again."""
        holder = self.store.find(self.get_process(_id(process)).key)
        if holder not in (None, _id(process)):
            raise errors.ProcessExists(process_id=str(holder))

    def cancel(self, process: Process | str, *, reason: str = "cancelled", by: str = "") -> None:
        """Cancel every step that is not finished. Tasks that still run may end, but no longer count."""
        require_text("reason", reason)
        require_text("by", by)
        stored = self.get_process(_id(process))
        picture = process if isinstance(process, Process) else stored
        for step_name in stored.steps:
            self._apply(picture, step_name, partial(outcomes.cancel, reason=reason, by=by))

    def close_incident(self, process: Process | str, step_name: str, *, by: str = "", note: str = "") -> None:
        """Note that a step that was given up has been looked at, and is to stay as it is.

        Raises InvalidTransition if the step has no open incident.
        """
        require_text("note", note)
        self._apply(process, step_name, partial(by_hand.close_incident, by=require_text("by", by), note=note))

    def incidents(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[Incident]:
        """Steps that were given up, or timed out and were only told, until somebody retries, finishes or closes them.

        Those of the newest processes first. `limit` and `after` are of processes, as in `list_processes`.
        """
        require_count("limit", limit, MAX_LIMIT)
        summaries = self.store.list_processes(replace(only, has_incident=True), limit=limit, after=after)
        return [incident for summary in summaries for incident in self._incidents_of(summary)]

    def _incidents_of(self, summary: ProcessSummary) -> list[Incident]:
        try:
            process, history = self.store.load(summary.id), self.store.history(summary.id)
        except errors.ProcessNotFound:  # deleted meanwhile
            return []
        return [incident_of(summary, step, history) for step in process.steps.values() if step.has_incident]

    def stats(self) -> Stats:
        """What there is, in numbers. It may take long: for monitoring, every few seconds, and for people."""
        return self.store.stats()

    def _apply(self, process: Process | str, step_name: str, rule: Rule) -> Transition:
        if step_name == OWN_RECORD:  # which is no step, and nobody's to change
            raise errors.StepNotFound(process_id=_id(process), step=step_name)
        if not isinstance(process, Process):
            return self._recorder.apply(StepKey(require_process_id(process), step_name), rule)
        key, guess = StepKey(process.id, step_name), process.step(step_name)
        transition = self._recorder.apply(key, rule, guess=guess)
        if not transition.is_change:  # perhaps only in this picture of the process, which may be an old one
            transition = self._recorder.apply(key, rule)
        process.steps[step_name] = transition.after
        return transition


def _id(process: Process | str) -> str:
    return process.id if isinstance(process, Process) else require_process_id(process)
