"""The copies of steps that a process has: brought up to date, at once or after a crash.

Whoever writes a tracker writes into it from when on others may renew the process's copy, `copy_due_ms`, and takes that
out only when the process was seen to be there with the copy. So whatever a crash leaves behind is in one list.

Trackers are always read before their process. The other way round, a copy that is renewed between the two reads is
seen in neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState, process_event
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.logs import EventLogger
from trellis_celery.repositories.interfaces import ProcessRepository, StepTrackerRepository

logger = EventLogger(__name__)

#: A stale write means that somebody else got on; this many in a row on one process do not happen.
MAX_TRIES = 1_000
#: How long writers have for their next write before others do it for them, ms.
GRACE_MS = 5_000
#: A process whose copies cannot be renewed is looked at again after this time, ms.
QUARANTINE_MS = 60_000
#: The most processes whose copies are renewed in one go.
AT_ONCE = 100


class Copies:
    """The processes of one repository, as the trackers of another have their steps."""

    def __init__(self, processes: ProcessRepository, trackers: StepTrackerRepository) -> None:
        self._processes = processes
        self._trackers = trackers
        #: Processes whose copies cannot be renewed, until when they are passed over.
        self._set_aside: dict[str, int] = {}

    def current(self, process_id: str) -> Process | None:
        """The process with its steps as they are, whether or not the copies are up to date."""
        uncopied = self._trackers.uncopied_of(process_id)
        process = self._processes.get_by_id(process_id)
        return None if process is None else _brought_up_to_date(process, uncopied)

    def renew(self, process_id: str) -> tuple[ProcessState, ProcessState] | None:
        """Store the process up to date, whatever was done to it before. What is left of one that is gone is removed.

        Returns its stored states before and after; None if there is no such process.
        """
        for _ in range(MAX_TRIES):
            uncopied = self._trackers.uncopied_of(process_id)
            stored = self._processes.get_by_id(process_id)
            if stored is None:
                self._trackers.delete(process_id)
                return None
            process = _brought_up_to_date(stored, uncopied)
            if process is stored and any(tracker.step_name == OWN_RECORD for tracker in uncopied):
                process = with_records(stored, ())  # the deletion that was announced fails, if it comes at all
            try:
                if process is not stored:
                    self._processes.save(process, _end_of(stored.state, process, uncopied))
            except errors.StaleWrite:
                continue
            if uncopied:
                self._trackers.mark_copied(uncopied)
            return stored.state, process.state
        raise too_many_tries(process_id)

    def renew_all_due(self, *, now_ms: int) -> None:
        """Do for others what they were to do by now. One process that cannot be renewed does not stop the others."""
        self._set_aside = {
            process_id: until_ms for process_id, until_ms in self._set_aside.items() if until_ms > now_ms
        }
        for process_id in self._trackers.all_uncopied(now_ms=now_ms, limit=AT_ONCE + len(self._set_aside)):
            if process_id in self._set_aside:
                continue
            try:
                self.renew(process_id)
            except errors.StoreUnavailable:
                raise
            except errors.StoreError:
                logger.exception("process_not_renewed", extra={"process_id": process_id})
                self._set_aside[process_id] = now_ms + QUARANTINE_MS

    def touch(self, process_id: str) -> bool:
        """Write the process as it is, so that a deletion that was decided on before fails. False: it is gone."""
        for _ in range(MAX_TRIES):
            process = self._processes.get_by_id(process_id)
            if process is None:
                return False
            try:
                self._processes.save(with_records(process, ()))
            except errors.StaleWrite:
                continue
            return True
        raise too_many_tries(process_id)

    def delete(self, process_id: str, *, finished_since_ms: int | None) -> bool:
        """Remove the process, then its trackers."""
        for _ in range(MAX_TRIES):
            uncopied = self._trackers.uncopied_of(process_id)
            process = self._processes.get_by_id(process_id)
            if process is None:
                self._trackers.delete(process_id)
                return False
            if finished_since_ms is not None and _brought_up_to_date(process, uncopied) is not process:
                self.renew(process_id)  # it was changed since
                return False
            self._announce_deletion(process_id)
            if self._processes.delete(process_id, version=process.version, finished_since_ms=finished_since_ms):
                self._trackers.delete(process_id)
                return True
            if finished_since_ms is not None:
                return False
        raise too_many_tries(process_id)

    def _announce_deletion(self, process_id: str) -> None:
        """Leave word that trackers may be left over. The process must have been read before."""
        announced = self._trackers.get(process_id, OWN_RECORD)
        version = 1 if announced is None else announced.step.version + 1
        announcement = StepTracker(
            process_id,
            ProcessStep(OWN_RECORD, version=version),
            copy_due_ms=self._trackers.now_ms() + GRACE_MS,
        )
        write = self._trackers.add if announced is None else self._trackers.save
        try:
            write(announcement)
        except errors.StaleWrite:
            return  # somebody else has just announced the same


def _brought_up_to_date(process: Process, trackers: Iterable[StepTracker]) -> Process:
    """The next version of the process, with the steps as their trackers have them; the same object if it has them."""
    steps = {tracker.step_name: tracker.step for tracker in trackers if tracker.step_name in process.steps}
    newer = [step for name, step in steps.items() if step.version > process.steps[name].version]
    return with_records(process, newer) if newer else process


def _end_of(state_before: ProcessState, process: Process, news: Iterable[StepTracker]) -> list[Event]:
    """What the process's log tells of its own end; its time is that of the step that finished it."""
    at_ms = max((tracker.step.finished_at_ms or 0 for tracker in news), default=0)
    end = process_event(state_before, process.state, at_ms)
    return [] if end is None else [end]


def with_records(process: Process, records: Iterable[ProcessStep]) -> Process:
    """The next version of the process, with these records in place of older ones."""
    by_name = {record.name: record for record in records}
    own = by_name.pop(OWN_RECORD, process.own)
    return replace(process, steps={**process.steps, **by_name}, own=own, version=process.version + 1)


def too_many_tries(process_id: str) -> errors.StoreError:
    return errors.StoreError(f"process {process_id} was changed by others {MAX_TRIES} times in a row")
