"""What becomes of finished processes: each goes into the archive once, and leaves the store when its time is over.

Tracking never waits for the archive. A finished process waits in the store until a pass has written it, so an archive
that is down, slow or of an old schema loses nothing: what waits can be counted, and is bounded by `backlog`. Passes may
overlap and die at any point: writing a process again changes nothing, and only one that did not change meanwhile stops
waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import require_process_id
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.domain.step import StepState
from trellis_celery.logs import EventLogger
from trellis_celery.ports import EVERYTHING, Chronicle, HistoryArchive, ProcessStore

logger = EventLogger(__name__)

#: A batch is written when it has so many steps, however few processes that is.
MAX_STEPS_A_BATCH = 10_000
#: After so many processes that the archive does not take for want of an answer, it is taken to be away.
MAX_UNAVAILABLE = 2
INCIDENTS_A_PAGE = 1_000


class HistoryReport(Struct):
    """What one pass did, and what is left."""

    archived: int = 0
    #: Removed from the store because their retention was over.
    removed: int = 0
    #: Removed without having been archived, because too many were waiting.
    dropped: int = 0
    #: Could not be read or written; see the log. They go on waiting.
    failed: int = 0
    #: Finished processes that wait for the archive now.
    waiting: int = 0
    #: Since when the first of them waits, epoch ms.
    waiting_since_ms: int | None = None


class HistoryService:
    """Archives and removes finished processes, and looks into the archive.

    archive
        None: finished processes are removed after their retention and kept nowhere.
    retention_ms
        How long a finished process stays in the store after its last change. 0: for ever.
    backlog
        So many may wait for an archive that is down. Beyond that the oldest whose retention is over are removed.
    batch_size
        The number of processes written in one transaction.
    budget_ms
        A pass ends after this time; what is left is for the next one.
    """

    def __init__(
        self,
        store: ProcessStore,
        archive: HistoryArchive | None = None,
        *,
        retention_ms: int = 0,
        backlog: int = 1_000_000,
        batch_size: int = 200,
        budget_ms: int = 5_000,
    ) -> None:
        self._store = store
        self._archive = archive
        self._retention_ms = retention_ms
        self._backlog = backlog
        self._batch_size = batch_size
        self._budget_ms = budget_ms

    @property
    def archive(self) -> HistoryArchive | None:
        return self._archive

    # Keep

    def archive_and_remove(self) -> HistoryReport:
        """One pass. Raises StoreUnavailable if the store does not answer; what the archive does is in the report."""
        report = HistoryReport()
        if self._retention_ms:  # first, so that an archive that hangs does not keep anything here
            self._remove_expired(report, self._store.now_ms() + self._budget_ms // 2)
        if self._archive is not None:
            end_ms = self._store.now_ms() + self._budget_ms // 2
            is_available = self._archive_waiting(self._archive, report, end_ms)
            if self._retention_ms and not is_available:
                self._drop_beyond_backlog(report, self._store.now_ms() + self._budget_ms // 2)
            report.waiting = self._store.count_finished(is_archived=False)
            first = self._store.finished(is_archived=False, limit=1)
            report.waiting_since_ms = first[0].since_ms if first else None
        return report

    def _archive_waiting(self, archive: HistoryArchive, report: HistoryReport, end_ms: int) -> bool:
        """False if the archive does not work."""
        for batch in self._batches(report, end_ms):
            try:
                written = self._write(archive, batch, report)
            except (errors.StoreUnavailable, errors.SchemaOutdated) as error:
                logger.error("archive_unavailable", extra={"error": str(error)})
                report.failed += len(batch)
                return False
            self._store.mark_archived([chronicle.finished for chronicle in written])
            report.archived += len(written)
        return True

    def _batches(self, report: HistoryReport, end_ms: int) -> Iterator[list[Chronicle]]:
        batch: list[Chronicle] = []
        steps = 0
        for finished in self._pages(is_archived=False, until_ms=None, end_ms=end_ms):
            chronicle = self._read(finished, report)
            if chronicle is None:
                continue
            batch.append(chronicle)
            steps += len(chronicle.process.steps)
            if len(batch) == self._batch_size or steps >= MAX_STEPS_A_BATCH:
                yield batch
                batch, steps = [], 0
        if batch:
            yield batch

    def _pages(self, *, is_archived: bool, until_ms: int | None, end_ms: int) -> Iterator[Finished]:
        """What is finished, page by page; each once, also those that stay where they are."""
        after: Finished | None = None
        while True:
            page = self._store.finished(is_archived=is_archived, until_ms=until_ms, limit=self._batch_size, after=after)
            for finished in page:
                if self._store.now_ms() >= end_ms:
                    return
                yield finished
            if len(page) < self._batch_size:
                return
            after = page[-1]

    def _read(self, finished: Finished, report: HistoryReport) -> Chronicle | None:
        try:
            process = self._store.load(finished.process_id)
            if not process.state.is_terminal:  # reopened meanwhile: it will wait again
                return None
            return Chronicle(process, self._store.history(finished.process_id), finished)
        except errors.ProcessNotFound:  # removed meanwhile
            return None
        except errors.CorruptRecord as error:
            _note_failure(finished, error, report)
            return None

    def _write(self, archive: HistoryArchive, batch: Sequence[Chronicle], report: HistoryReport) -> Sequence[Chronicle]:
        """Write the batch, or each that can be; return what was written. Raises StoreUnavailable, SchemaOutdated."""
        try:
            archive.write(batch)
        except errors.SchemaOutdated:
            raise
        except errors.StoreError as error:
            if isinstance(error, errors.StoreUnavailable) and len(batch) == 1:
                raise
            return self._write_each(archive, batch, report)
        return batch

    def _write_each(
        self, archive: HistoryArchive, batch: Sequence[Chronicle], report: HistoryReport
    ) -> Sequence[Chronicle]:
        """One that is refused, or breaks the connection by its size, must not hold up the others."""
        written: list[Chronicle] = []
        refused: list[tuple[Finished, errors.StoreError]] = []
        for chronicle in batch:
            try:
                archive.write([chronicle])
            except errors.StoreError as error:
                refused.append((chronicle.finished, error))
                if sum(isinstance(each, errors.StoreUnavailable) for _, each in refused) == MAX_UNAVAILABLE:
                    if not written:
                        raise
                    break
            else:
                written.append(chronicle)
        for finished, reason in refused:
            _note_failure(finished, reason, report)
        return written

    # Remove

    def _remove_expired(self, report: HistoryReport, end_ms: int) -> None:
        for is_archived in (True,) if self._archive is not None else (True, False):
            for finished in self._expired(is_archived=is_archived, end_ms=end_ms):
                report.removed += self._remove(finished, report)

    def _drop_beyond_backlog(self, report: HistoryReport, end_ms: int) -> None:
        beyond = self._store.count_finished(is_archived=False) - self._backlog
        for finished in self._expired(is_archived=False, end_ms=end_ms):
            if report.dropped >= beyond:
                return
            if self._remove(finished, report):
                report.dropped += 1
                logger.error("process_dropped_unarchived", extra={"process_id": finished.process_id})

    def _expired(self, *, is_archived: bool, end_ms: int) -> Iterator[Finished]:
        """Those whose retention is over. The ones that stay for their incidents must not use up the time of a pass."""
        until_ms = self._store.now_ms() - self._retention_ms
        with_incident: set[str] | None = None
        for finished in self._pages(is_archived=is_archived, until_ms=until_ms, end_ms=end_ms):
            if with_incident is None:
                with_incident = self._ids_with_incident()
            if finished.process_id not in with_incident:
                yield finished

    def _ids_with_incident(self) -> set[str]:
        ids: set[str] = set()
        only, after = ProcessFilter(has_incident=True, state=ProcessState.FAILED), None
        while page := self._store.list_processes(only, limit=INCIDENTS_A_PAGE, after=after):
            ids.update(process.id for process in page)
            after = page[-1].position
        return ids

    def _remove(self, finished: Finished, report: HistoryReport) -> bool:
        """A process that has failed may have steps that still run, or that somebody has to see to: it stays so long."""
        try:
            process = self._store.load(finished.process_id)
            if process.has_incident or any(step.state is StepState.IN_PROGRESS for step in process.steps.values()):
                return False
            return self._store.delete(finished.process_id, finished_since_ms=finished.since_ms)
        except errors.ProcessNotFound:
            return False
        except errors.StoreUnavailable:
            raise
        except errors.StoreError as error:
            report.failed += 1
            logger.error("process_not_removed", extra={"process_id": finished.process_id}, exc_info=error)
            return False

    # Look

    def get_process(self, process_id: str) -> Process:
        """The process as it was when it was archived last. Raises ProcessNotFound."""
        return self._required_archive.load(require_process_id(process_id))

    def history(self, process_id: str) -> list[Event]:
        """Everything that happened to the process until it was archived, oldest first."""
        return self._required_archive.history(require_process_id(process_id))

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        """Archived processes, newest first; `after`: those behind the `position` of the last one of the page before."""
        return self._required_archive.list_processes(only, limit=limit, after=after)

    @property
    def _required_archive(self) -> HistoryArchive:
        if self._archive is None:
            raise errors.ConfigurationError('there is no archive: set trellis_history_url = "postgresql+psycopg://…"')
        return self._archive


def _note_failure(finished: Finished, error: Exception, report: HistoryReport) -> None:
    report.failed += 1
    logger.error("process_not_archived", extra={"process_id": finished.process_id}, exc_info=error)
