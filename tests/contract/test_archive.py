"""What an archive promises, over memory and over real databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from msgspec.structs import replace
from sqlalchemy import Engine, event, func, select, text

from tests.support.databases import emptied, without_tables
from trellis_celery import errors
from trellis_celery.domain.process import OWN_RECORD, ProcessState, mark_overdue
from trellis_celery.domain.queries import Finished, ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Chronicle, HistoryArchive, ProcessStore
from trellis_celery.services.history import MAX_UNAVAILABLE, HistoryService
from trellis_celery.services.processes import ProcessService
from trellis_celery.stores.memory import MemoryArchive, MemoryStore
from trellis_celery.stores.sqlalchemy import SQLAlchemyArchive, schema
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedEventRow, ArchivedProcessRow, ArchivedStepRow
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.testing import ManualClock
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.identifiers import HOSTILE

TIMEOUT_MS = 2_500
TABLES = (ArchivedProcessRow, ArchivedStepRow, ArchivedEventRow)
DATABASES = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], str]:
    sqlite: Path = tmp_path_factory.mktemp("archive") / "archive.db"
    return lambda name: f"sqlite:///{sqlite}" if name == "sqlite" else request.getfixturevalue(f"{name}_url")


@pytest.fixture
def database(request: pytest.FixtureRequest, urls: Callable[[str], str]) -> Iterator[Engine]:
    """A database with empty tables."""
    engine = engine_for(urls(request.param), timeout_ms=TIMEOUT_MS)
    schema.migrate(engine)
    emptied(engine)
    yield engine
    engine.dispose()


each_database = pytest.mark.parametrize("database", DATABASES, indirect=True)


@pytest.fixture(params=["memory", *DATABASES])
def archive(request: pytest.FixtureRequest, urls: Callable[[str], str]) -> Iterator[HistoryArchive]:
    if request.param == "memory":
        yield MemoryArchive()
        return
    engine = engine_for(urls(request.param), timeout_ms=TIMEOUT_MS)
    schema.migrate(engine)
    emptied(engine)
    yield SQLAlchemyArchive(engine, timeout_ms=TIMEOUT_MS)
    engine.dispose()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=ManualClock())


def finished(store: ProcessStore, *steps: str | ProcessStep, since_ms: int | None = None, **fields: Any) -> Chronicle:
    """A finished process as it goes into the archive."""
    process = builders.created(store, *steps, **fields)
    for name in process.steps:
        builders.apply(store, process, builders.start(at_ms=1_000), name)
        builders.apply(store, process, builders.complete(at_ms=2_000), name)
    return chronicle(store, process.id, since_ms=since_ms)


def chronicle(store: ProcessStore, process_id: str, *, since_ms: int | None = None) -> Chronicle:
    entry = next(each for each in store.finished(is_archived=False, limit=100_000) if each.process_id == process_id)
    at = entry if since_ms is None else Finished(since_ms, process_id)
    return Chronicle(store.load(process_id), store.history(process_id), at)


def ids(processes: Sequence[ProcessSummary]) -> list[str]:
    return [process.id for process in processes]


# Written and read


def test_what_was_written_is_read_as_it_was(archive: HistoryArchive, store: MemoryStore) -> None:
    steps = (ProcessStep("timed", timeout_ms=5, retries_permitted=2), "plain")
    written = finished(store, *steps, metadata={"ward": "é😀", "beds": [1, 2.5, None]}, deadline_ms=60_000)

    archive.write([written])

    assert replace(archive.load(written.process.id), version=0) == replace(written.process, version=0)
    assert list(archive.load(written.process.id).steps) == ["timed", "plain"]
    assert archive.history(written.process.id) == written.events
    assert archive.list_processes() == [ProcessSummary.of(written.process)]


def test_an_unknown_process_is_not_found(archive: HistoryArchive) -> None:
    for process_id in (builders.UNKNOWN_ID, "nonsense", "'; DROP TABLE trellis_history; --", "\x00"):
        with pytest.raises(errors.ProcessNotFound):
            archive.load(process_id)
        assert archive.history(process_id) == []


def test_nothing_is_written_of_nothing(archive: HistoryArchive) -> None:
    archive.write([])

    assert archive.list_processes() == []


@pytest.mark.fault("A10", "X1", "X13")
def test_hostile_names_are_only_names(archive: HistoryArchive, store: MemoryStore) -> None:
    written = [
        finished(store, name, tenant_id=name, process_type=name, aggregate_type=name, aggregate_id=name)
        for name in HOSTILE
    ]
    archive.write(written)

    for each, name in zip(written, HOSTILE, strict=True):
        assert archive.load(each.process.id).key == each.process.key
        assert archive.history(each.process.id) == each.events
        for only in ({"tenant_id": name}, {"process_type": name}, {"aggregate_id": name, "aggregate_type": name}):
            assert ids(archive.list_processes(ProcessFilter(**only))) == [each.process.id]  # type: ignore[arg-type]


@pytest.mark.fault("A8")
def test_a_process_of_ten_thousand_steps_is_kept(archive: HistoryArchive, store: MemoryStore) -> None:
    names = [f"step-{number}" for number in range(10_000)]
    process = builders.created(store, *names)
    builders.apply(store, process, builders.fail(), names[0])
    written = chronicle(store, process.id)

    archive.write([written])

    loaded = archive.load(process.id)
    assert list(loaded.steps) == names
    assert loaded.state is ProcessState.FAILED


def test_errors_of_any_length_are_kept_as_the_store_keeps_them(archive: HistoryArchive, store: MemoryStore) -> None:
    process = builders.created(store, "step")
    ProcessService(store).fail_step(process, "step", "broken 😀 " * 200)

    archive.write([chronicle(store, process.id)])

    assert archive.load(process.id).step("step").last_error == process.step("step").last_error


# Once


def test_a_process_that_is_written_again_is_kept_once(archive: HistoryArchive, store: MemoryStore) -> None:
    written = finished(store)

    for batch in ([written], [written], [written, written]):
        archive.write(batch)

    assert ids(archive.list_processes()) == [written.process.id]
    assert archive.history(written.process.id) == written.events


def test_a_process_that_changed_is_brought_up_to_date(archive: HistoryArchive, store: MemoryStore) -> None:
    process = builders.created(store, "a", "b")
    builders.apply(store, process, builders.fail(), "a")
    archive.write([chronicle(store, process.id)])

    builders.apply(store, process, builders.complete(), "b")
    newer = chronicle(store, process.id)
    archive.write([newer])

    assert archive.load(process.id).step("b").state == "completed"
    assert archive.history(process.id) == newer.events
    assert len(archive.list_processes()) == 1


def test_what_is_older_changes_nothing(archive: HistoryArchive, store: MemoryStore) -> None:
    newer = finished(store, since_ms=2_000)
    older = Chronicle(newer.process, newer.events[:1], Finished(1_000, newer.process.id))

    archive.write([newer])
    archive.write([older])
    archive.write([older, finished(store)])

    assert archive.history(newer.process.id) == newer.events
    assert len(archive.list_processes()) == 2


def test_archivers_that_write_the_same_processes_at_once_keep_each_once(
    archive: HistoryArchive, store: MemoryStore
) -> None:
    written = [finished(store) for _ in range(40)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(archive.write, [written, written[::-1], written[10:], written[:30]]))

    assert sorted(ids(archive.list_processes(limit=100))) == sorted(each.process.id for each in written)
    assert all(archive.history(each.process.id) == each.events for each in written)


# Lists


def test_archived_processes_are_listed_by_every_filter_page_by_page(
    archive: HistoryArchive, store: MemoryStore
) -> None:
    written = []
    for number in range(30):
        fields = {"tenant_id": f"tenant {number % 2}", "process_type": f"Type {number % 3}"}
        process = builders.created(store, started_at_ms=1_000 + number // 4, deadline_ms=1, **fields)  # type: ignore[arg-type]
        if number % 5 == 0:
            builders.apply(store, process, lambda own: mark_overdue(own, now_ms=5_000), OWN_RECORD)
        builders.apply(store, process, builders.fail() if number % 4 else builders.cancel())
        written.append(chronicle(store, process.id))
    archive.write(written)
    everything = sorted(map(_summary, written), key=lambda each: each.position, reverse=True)

    for only in (
        ProcessFilter(),
        ProcessFilter(state=ProcessState.FAILED),
        ProcessFilter(process_type="Type 1"),
        ProcessFilter(tenant_id="tenant 1", state=ProcessState.CANCELLED),
        ProcessFilter(tenant_id="tenant 1", process_type="Type 2"),
        ProcessFilter(aggregate_id=written[3].process.aggregate_id),
        ProcessFilter(started_from_ms=1_002, started_before_ms=1_006),
        ProcessFilter(is_overdue=True),
    ):
        pages = [archive.list_processes(only, limit=4)]
        while pages[-1]:
            pages.append(archive.list_processes(only, limit=4, after=pages[-1][-1].position))
        assert [each for page in pages for each in page] == [each for each in everything if only.matches(each)]


def _summary(written: Chronicle) -> ProcessSummary:
    return ProcessSummary.of(written.process)


# Databases


@each_database
def test_people_read_the_tables_without_trellis(database: Engine, store: MemoryStore) -> None:
    process = builders.created(store, "call", tenant_id="clinic-7")
    ProcessService(store).fail_step(process, "call", "no answer")

    SQLAlchemyArchive(database).write([chronicle(store, process.id)])

    with database.connect() as connection:
        (step,) = connection.execute(
            select(ArchivedStepRow.state, ArchivedStepRow.last_error, ArchivedProcessRow.state.label("process_state"))
            .join(ArchivedProcessRow, ArchivedProcessRow.id == ArchivedStepRow.process_id)
            .where(ArchivedStepRow.name == "call", ArchivedProcessRow.tenant_id == "clinic-7")
        )
        kinds = connection.scalars(select(ArchivedEventRow.kind).order_by(ArchivedEventRow.number)).all()
    assert (step.state, step.last_error, step.process_state) == ("failed", "no answer", "failed")
    assert kinds == ["process_started", "step_failed", "process_failed"]


@each_database
def test_a_batch_is_written_as_a_whole_or_not_at_all(database: Engine, store: MemoryStore) -> None:
    """Whichever statement it dies at."""
    written, points = [finished(store, "a", "b") for _ in range(3)], 0
    archive = SQLAlchemyArchive(database)
    archive.list_processes()
    while _dies(database, partial(archive.write, written), at_statement=points + 1):
        points += 1
        assert _rows(database) == [0, 0, 0]

    assert points >= 4
    assert _rows(database)[0] == 3


def _dies(database: Engine, do: Callable[[], object], *, at_statement: int) -> bool:
    """Whether it came to that statement, before which it is interrupted."""
    statements = count(1)

    def interrupt(*_: Any) -> None:
        if next(statements) == at_statement:
            raise KeyboardInterrupt

    event.listen(database, "before_cursor_execute", interrupt)
    try:
        do()
    except KeyboardInterrupt:
        return True
    finally:
        event.remove(database, "before_cursor_execute", interrupt)
    return False


def _rows(database: Engine) -> list[int]:
    with database.connect() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


@pytest.mark.fault("A19")
@each_database
def test_an_archive_of_an_old_schema_says_so_and_everything_waits(database: Engine) -> None:
    store = _store_with_finished(3)
    without_tables(database)
    _migrate_to_first_schema(database)
    service = HistoryService(store, SQLAlchemyArchive(database))

    with pytest.raises(errors.SchemaOutdated, match=f"schema 0001.*schema {schema.HEAD}.*trellis migrate"):
        service.list_processes()
    report = service.archive_and_remove()
    assert (report.archived, report.failed, report.waiting) == (0, 3, 3)

    schema.migrate(database)
    report = service.archive_and_remove()
    assert (report.archived, report.waiting) == (3, 0)


def _migrate_to_first_schema(database: Engine) -> None:
    config = schema._config()
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")


def _store_with_finished(count: int) -> MemoryStore:
    store = MemoryStore()
    for _ in range(count):
        builders.apply(store, builders.created(store), builders.complete())
    return store


_LOCKS = {
    "sqlite": ["BEGIN EXCLUSIVE"],
    "postgresql": ["LOCK TABLE trellis_history IN ACCESS EXCLUSIVE MODE"],
    "mariadb": ["LOCK TABLES trellis_history WRITE"],
}


@pytest.mark.fault("A19")
@each_database
def test_an_archive_that_is_locked_by_somebody_else_loses_nothing_and_holds_nobody_up_for_long(
    database: Engine,
) -> None:
    """A19: the lock is held for as long as the pass goes on, and the pass ends in spite of it."""
    store, name = _store_with_finished(3), database.dialect.name
    service = HistoryService(store, SQLAlchemyArchive(database, timeout_ms=TIMEOUT_MS))
    service.list_processes()
    holder = engine_for(str(database.url.render_as_string(hide_password=False)), timeout_ms=TIMEOUT_MS)

    with holder.connect() as connection:
        for statement in _LOCKS[name]:
            connection.exec_driver_sql(statement)
        started_s = time.monotonic()
        report = service.archive_and_remove()
        took_s = time.monotonic() - started_s
        connection.rollback()
        if name == "mariadb":
            connection.execute(text("UNLOCK TABLES"))
    holder.dispose()

    assert (report.archived, report.failed, report.waiting) == (0, 3, 3)
    assert took_s < (MAX_UNAVAILABLE + 4) * TIMEOUT_MS / 1000
    assert service.archive_and_remove().archived == 3


@pytest.mark.fault("A19")
def test_an_archive_that_is_down_is_unavailable() -> None:
    engine = engine_for("postgresql://nobody@127.0.0.1:1/none", timeout_ms=500)
    store = _store_with_finished(2)
    service = HistoryService(store, SQLAlchemyArchive(engine, timeout_ms=500))

    report = service.archive_and_remove()

    assert (report.archived, report.failed, report.waiting) == (0, 2, 2)
    with pytest.raises(errors.StoreUnavailable):
        service.list_processes()
    engine.dispose()
