from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest

from tests.support import logged
from trellis_celery import errors
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Finished, ProcessFilter
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Chronicle
from trellis_celery.services.history import HistoryReport, HistoryService
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import MemoryArchive, MemoryStore
from trellis_celery.testing import ManualClock

DAY_MS = 86_400_000
TIMEOUT_MS = 1_000


WITH_INCIDENT = ProcessFilter(has_incident=True)


class Archive(MemoryArchive):
    """One that remembers how it was written to, and does not work when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.refuses: Callable[[Chronicle], Exception | None] = lambda _: None

    def write(self, chronicles: Sequence[Chronicle]) -> None:
        for chronicle in chronicles:
            if (error := self.refuses(chronicle)) is not None:
                raise error
        self.batches.append([chronicle.process.id for chronicle in chronicles])
        super().write(chronicles)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.processes = ProcessService(self.store)
        self.archive = Archive()

    def service(self, **options: int) -> HistoryService:
        return HistoryService(self.store, self.archive, **options)

    def start(self, *steps: str) -> Process:
        return self.processes.start_process(
            tenant_id="tenant",
            process_type="Type",
            aggregate_type="Aggregate",
            aggregate_id=str(len(self.store.list_processes(limit=10_000))),
            steps=[ProcessStep(name, timeout_ms=TIMEOUT_MS) for name in steps or ("step",)],
        )

    def give_up(self, count: int = 1) -> list[Process]:
        """Finished processes, each with an open incident."""
        given_up = [self.start() for _ in range(count)]
        for process in given_up:
            self.processes.start_step(process, "step")
        self.clock.advance(TIMEOUT_MS)
        assert TimeoutCheckerService(self.store).check_for_timed_out_steps().gave_up == count
        return given_up

    def finish(self, count: int = 1) -> list[Process]:
        finished = []
        for _ in range(count):
            process = self.start()
            self.processes.complete_step(process, "step")
            self.clock.advance(1)
            finished.append(process)
        return finished


@pytest.fixture
def world() -> World:
    return World()


# Archive


def test_a_finished_process_is_archived_with_its_whole_log(world: World) -> None:
    (process,) = world.finish()
    world.start()

    report = world.service().archive_and_remove()

    assert report == HistoryReport(archived=1)
    service = world.service()
    assert service.get_process(process.id).state is ProcessState.COMPLETED
    assert service.history(process.id) == world.store.history(process.id)
    assert [each.id for each in service.list_processes()] == [process.id]
    assert service.list_processes(ProcessFilter(state=ProcessState.FAILED)) == []


def test_a_process_is_archived_once(world: World) -> None:
    world.finish(3)

    reports = [world.service().archive_and_remove() for _ in range(3)]

    assert [report.archived for report in reports] == [3, 0, 0]
    assert [len(batch) for batch in world.archive.batches] == [3]


def test_what_happens_to_an_archived_process_is_archived_too(world: World) -> None:
    process = world.start()
    world.processes.fail_step(process, "step", "broken")
    world.service().archive_and_remove()

    world.processes.retry_step(process, "step")
    assert world.service().archive_and_remove().archived == 0
    world.processes.complete_step(process, "step")
    assert world.service().archive_and_remove().archived == 1

    assert world.service().get_process(process.id).is_completed()
    kinds = [event.kind for event in world.service().history(process.id)]
    assert kinds.count(EventKind.PROCESS_STARTED) == 1
    assert EventKind.STEP_REOPENED in kinds
    assert len(world.service().list_processes()) == 1


def test_a_process_that_changes_while_it_is_written_is_written_again(world: World) -> None:
    process = world.start("a", "b")
    world.processes.fail_step(process, "a", "broken")

    def change_meanwhile(chronicle: Chronicle) -> None:
        world.processes.complete_step(process.id, "b")

    world.archive.refuses = change_meanwhile
    report = world.service().archive_and_remove()
    assert report.waiting == 1

    world.archive.refuses = lambda _: None
    assert world.service().archive_and_remove().archived == 1
    assert world.service().history(process.id)[-1].step_name == "b"


def test_an_older_picture_of_a_process_does_not_replace_a_newer_one(world: World) -> None:
    (process,) = world.finish()
    newer = Chronicle(process, world.store.history(process.id), Finished(2_000, process.id))
    older = Chronicle(process, [], Finished(1_000, process.id))

    world.archive.write([newer])
    world.archive.write([older])

    assert world.archive.history(process.id) == newer.events


def test_many_are_written_in_batches(world: World) -> None:
    world.finish(25)

    world.service(batch_size=10).archive_and_remove()

    assert [len(batch) for batch in world.archive.batches] == [10, 10, 5]


def test_big_processes_make_small_batches(world: World) -> None:
    for _ in range(3):
        names = [f"step-{number}" for number in range(6_000)]
        process = world.start(*names)
        world.processes.fail_step(process, names[0], "broken")

    world.service().archive_and_remove()

    assert [len(batch) for batch in world.archive.batches] == [2, 1]


@pytest.mark.fault("A20")
def test_a_pass_ends_in_time_and_leaves_the_rest_to_the_next(world: World) -> None:
    world.finish(30)

    def slow(_: Chronicle) -> None:
        world.clock.advance(10)

    world.archive.refuses = slow
    first = world.service(batch_size=10, budget_ms=150).archive_and_remove()

    assert 0 < first.archived < 30
    assert first.waiting == 30 - first.archived
    assert first.waiting_since_ms is not None


# An archive that does not work


@pytest.mark.fault("A19")
@pytest.mark.parametrize("error", [errors.StoreUnavailable("down"), errors.SchemaOutdated(found="1", needed="2")])
def test_while_the_archive_is_down_everything_waits_and_is_counted(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    processes = world.finish(3)
    world.archive.refuses = lambda _: error

    report = world.service(retention_ms=DAY_MS).archive_and_remove()
    world.clock.advance(10 * DAY_MS)
    later = world.service(retention_ms=DAY_MS).archive_and_remove()

    assert (report.archived, report.failed, report.waiting) == (0, 3, 3)
    assert (later.removed, later.dropped, later.waiting) == (0, 0, 3)
    assert logged.events(caplog, logging.ERROR) == ["archive_unavailable"] * 2

    world.archive.refuses = lambda _: None
    assert world.service(retention_ms=DAY_MS).archive_and_remove() == HistoryReport(archived=3)
    assert world.service(retention_ms=DAY_MS).archive_and_remove() == HistoryReport(removed=3)
    assert {each.id for each in world.service().list_processes()} == {process.id for process in processes}


def test_a_process_that_cannot_be_written_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    processes = world.finish(5)
    bad = processes[2].id
    world.archive.refuses = lambda chronicle: errors.StoreError("no") if chronicle.process.id == bad else None

    report = world.service(batch_size=4).archive_and_remove()

    assert (report.archived, report.failed, report.waiting) == (4, 1, 1)
    (record,) = caplog.records
    assert (vars(record)["event"], vars(record)["process_id"]) == ("process_not_archived", bad)


def test_a_process_that_cannot_be_read_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = world.finish(3)
    load = world.store.load

    def load_or_fail(process_id: str) -> Process:
        if process_id == processes[0].id:
            raise errors.CorruptRecord(key=process_id, problem="damaged")
        return load(process_id)

    monkeypatch.setattr(world.store, "load", load_or_fail)

    report = world.service(batch_size=1).archive_and_remove()

    assert (report.archived, report.failed, report.waiting) == (2, 1, 1)


@pytest.mark.fault("A19")
def test_what_waits_is_bounded_and_nothing_is_dropped_before_its_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    processes = world.finish(5)
    world.archive.refuses = lambda _: errors.StoreUnavailable("down")
    service = world.service(retention_ms=DAY_MS, backlog=3)

    assert service.archive_and_remove().dropped == 0
    world.clock.advance(2 * DAY_MS)
    report = service.archive_and_remove()

    assert (report.dropped, report.waiting) == (2, 3)
    assert set(logged.events(caplog)) == {"archive_unavailable", "process_dropped_unarchived"}
    dropped = [vars(record)["process_id"] for record in caplog.records if "process_id" in vars(record)]
    assert dropped == [process.id for process in processes[:2]]


# Retention


def test_an_archived_process_leaves_the_store_when_its_retention_is_over(world: World) -> None:
    (process,) = world.finish()
    live = world.start()
    service = world.service(retention_ms=DAY_MS)

    assert service.archive_and_remove().removed == 0
    world.clock.advance(DAY_MS - 2)
    assert service.archive_and_remove().removed == 0
    world.clock.advance(2)
    assert service.archive_and_remove().removed == 1

    assert [each.id for each in world.store.list_processes()] == [live.id]
    assert service.get_process(process.id).is_completed()


@pytest.mark.fault("A20")
def test_without_an_archive_finished_processes_go_after_their_retention(world: World) -> None:
    world.finish(25)
    live = world.start()
    service = HistoryService(world.store, retention_ms=DAY_MS, batch_size=10)

    world.clock.advance(DAY_MS)

    assert service.archive_and_remove() == HistoryReport(removed=25)
    assert [each.id for each in world.store.list_processes()] == [live.id]


def test_without_retention_nothing_is_ever_removed(world: World) -> None:
    world.finish()
    world.clock.advance(1_000 * DAY_MS)

    world.service().archive_and_remove()

    assert len(world.store.list_processes()) == 1


def test_a_process_that_is_reopened_as_it_is_removed_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    process = world.start()
    world.processes.fail_step(process, "step", "broken")
    finished = world.store.finished

    def finished_then_reopened(**options: object) -> list[Finished]:
        page = finished(**options)  # type: ignore[arg-type]
        if page:
            world.processes.retry_step(process.id, "step")
        return page

    world.clock.advance(DAY_MS)
    monkeypatch.setattr(world.store, "finished", finished_then_reopened)

    report = HistoryService(world.store, retention_ms=DAY_MS).archive_and_remove()

    assert report.removed == 0
    assert world.store.load(process.id).state is ProcessState.PENDING


def test_a_failed_process_stays_for_as_long_as_one_of_its_steps_runs(world: World) -> None:
    process = world.start("a", "b")
    world.processes.start_step(process, "b")
    world.processes.fail_step(process, "a", "broken")
    service = HistoryService(world.store, retention_ms=DAY_MS)
    world.clock.advance(2 * DAY_MS)

    assert service.archive_and_remove().removed == 0
    world.processes.complete_step(process, "b")
    world.clock.advance(2 * DAY_MS)
    assert service.archive_and_remove().removed == 1


def test_a_process_with_an_incident_stays_until_somebody_has_seen_to_it(world: World) -> None:
    (process,) = world.give_up()
    service = world.service(retention_ms=DAY_MS)
    world.clock.advance(2 * DAY_MS)

    for _ in range(2):
        report = service.archive_and_remove()
        assert (report.removed, report.failed, report.waiting) == (0, 0, 0)
    assert [event.kind for event in service.history(process.id)][-2:] == ["step_gave_up", "process_failed"]

    world.processes.close_incident(process.id, "step", by="ann")
    assert service.archive_and_remove().archived == 1
    world.clock.advance(2 * DAY_MS)
    assert service.archive_and_remove().removed == 1
    assert service.history(process.id)[-1].by == "ann"


def test_many_incidents_keep_no_other_process_from_being_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they are the oldest, and a pass has time for fewer of them."""
    world.give_up(30)
    world.finish(3)
    world.clock.advance(2 * DAY_MS)
    load = world.store.load

    def load_slowly(process_id: str) -> Process:
        world.clock.advance(1)
        return load(process_id)

    monkeypatch.setattr(world.store, "load", load_slowly)

    report = HistoryService(world.store, retention_ms=DAY_MS, budget_ms=20).archive_and_remove()

    assert report.removed == 3
    assert len(world.store.list_processes(WITH_INCIDENT)) == 30


def test_what_has_an_incident_is_never_dropped_and_others_are_in_its_place(world: World) -> None:
    world.give_up(3)
    world.finish(3)
    world.archive.refuses = lambda _: errors.StoreUnavailable("down")
    world.clock.advance(2 * DAY_MS)

    report = world.service(retention_ms=DAY_MS, backlog=4).archive_and_remove()

    assert (report.dropped, report.waiting) == (2, 4)
    assert len(world.store.list_processes(WITH_INCIDENT)) == 3


def test_an_incident_that_opens_while_processes_are_removed_keeps_its_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.give_up()
    world.clock.advance(2 * DAY_MS)
    monkeypatch.setattr(world.store, "list_processes", lambda *_, **__: [])  # as it was a moment ago

    assert HistoryService(world.store, retention_ms=DAY_MS).archive_and_remove().removed == 0


def test_a_process_that_cannot_be_removed_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = world.finish(3)
    delete = world.store.delete

    def delete_or_fail(process_id: str, **options: int) -> bool:
        if process_id == processes[0].id:
            raise errors.CorruptRecord(key=process_id, problem="damaged")
        return delete(process_id, **options)  # type: ignore[arg-type]

    world.clock.advance(DAY_MS)
    monkeypatch.setattr(world.store, "delete", delete_or_fail)

    report = HistoryService(world.store, retention_ms=DAY_MS).archive_and_remove()

    assert (report.removed, report.failed) == (2, 1)


def test_an_archive_that_hangs_keeps_nothing_in_the_store(world: World) -> None:
    world.finish(3)
    world.service().archive_and_remove()
    world.clock.advance(DAY_MS)
    world.finish(1)

    def hang(_: Chronicle) -> Exception:
        world.clock.advance(60_000)
        return errors.StoreUnavailable("no answer")

    world.archive.refuses = hang

    assert world.service(retention_ms=DAY_MS).archive_and_remove().removed == 3


def test_a_process_that_breaks_the_connection_does_not_hold_up_the_others(world: World) -> None:
    processes = world.finish(4)
    bad = processes[0].id
    down = errors.StoreUnavailable("server has gone away")
    world.archive.refuses = lambda chronicle: down if chronicle.process.id == bad else None

    report = world.service().archive_and_remove()

    assert (report.archived, report.failed, report.waiting) == (3, 1, 1)


def test_nothing_is_dropped_while_the_archive_works(world: World) -> None:
    world.finish(30)
    world.clock.advance(2 * DAY_MS)
    world.archive.refuses = lambda _: world.clock.advance(10)

    report = world.service(retention_ms=DAY_MS, backlog=3, batch_size=5, budget_ms=200).archive_and_remove()

    assert report.dropped == 0
    assert 0 < report.waiting < 30


def test_looking_into_an_archive_that_is_none_says_what_to_set(world: World) -> None:
    with pytest.raises(errors.ConfigurationError, match="trellis_history_url"):
        HistoryService(world.store).list_processes()


@pytest.mark.parametrize("process_id", ["nonsense", "0-" + "0" * 32])
def test_an_unknown_process_is_not_found_in_the_archive(world: World, process_id: str) -> None:
    with pytest.raises(errors.ProcessNotFound):
        world.service().get_process(process_id)
