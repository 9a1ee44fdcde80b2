"""A database that an older release has filled is brought up to date with everything in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, insert, inspect, select

from tests.support.databases import without_tables
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState, mark_overdue
from trellis_celery.domain.queries import ProcessFilter, ProcessGroup
from trellis_celery.stores import codec
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.stores.sqlalchemy import SQLAlchemyArchive, SQLAlchemyStore, records, schema
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedEventRow, ArchivedProcessRow, ArchivedStepRow
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.models import Base, LogRow, ProcessRow, StepRow
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.incidents import WITH_INCIDENT, give_up

#: The numbers of classes in schema 0002: the state, and whether the process is overdue.
OLD_NUMBERS = {
    (ProcessState.PENDING, False): 0,
    (ProcessState.PENDING, True): 1,
    (ProcessState.IN_PROGRESS, False): 2,
    (ProcessState.IN_PROGRESS, True): 3,
    (ProcessState.COMPLETED, False): 4,
    (ProcessState.FAILED, False): 5,
    (ProcessState.CANCELLED, False): 6,
}
RULES = {
    ProcessState.PENDING: None,
    ProcessState.IN_PROGRESS: builders.start(),
    ProcessState.COMPLETED: builders.complete(),
    ProcessState.FAILED: builders.fail(),
    ProcessState.CANCELLED: builders.cancel(),
}
OVERDUE = ProcessFilter(is_overdue=True)


class OldDatabase:
    """Schema 0002 with a process of each class that it knows, in the store and in the archive."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.processes = {place: _process(*place) for place in OLD_NUMBERS}
        self.go_to("0002", command.upgrade)
        for (state, is_overdue), process in self.processes.items():
            self._fill(process, OLD_NUMBERS[state, is_overdue])

    def go_to(self, revision: str, move: Any) -> None:
        config = schema._config()
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            move(config, revision)

    def class_numbers(self, table: type[ProcessRow] | type[ArchivedProcessRow]) -> dict[str, int]:
        with self.engine.connect() as connection:
            return {row.id: row.class_number for row in connection.execute(select(table.id, table.class_number))}

    def ids(self, *, state: ProcessState | None = None, is_overdue: bool | None = None) -> set[str]:
        return {
            process.id
            for place, process in self.processes.items()
            if state in (None, place[0]) and is_overdue in (None, place[1])
        }

    def _fill(self, process: Process, class_number: int) -> None:
        listed = {**records.listed_values(process), "class_number": class_number, "counts": _old_counts(process)}
        of_store = {"live_key": records.live_key(process.key), "version": 1, "last_since_ms": 0}
        steps = [{**row, "record": _old(row["record"], fields=2)} for row in records.step_values(process)]
        started = {"kind": EventKind.PROCESS_STARTED, "step_name": OWN_RECORD, "attempt": 0, "occurred_at_ms": 1}
        of_archive = {"state": process.state, "is_overdue": process.is_overdue, "finished_at_ms": 1}
        with self.engine.begin() as connection:
            connection.execute(insert(ProcessRow), {**listed, **of_store})
            connection.execute(insert(StepRow), steps)
            entry = json.dumps([*started.values(), ""]).encode()
            connection.execute(insert(LogRow), {"process_id": process.id, "entry": entry})
            connection.execute(insert(ArchivedProcessRow), {**listed, **of_archive})
            connection.execute(insert(ArchivedStepRow), [_archived(row) for row in steps])
            number = {"process_id": process.id, "number": 0, "detail": ""}
            connection.execute(insert(ArchivedEventRow), {**number, **started})


def _process(state: ProcessState, is_overdue: bool) -> Process:
    """As it was when a release of schema 0002 had written it."""
    store = MemoryStore()
    process = builders.created(store, process_type=f"{state}", tenant_id=f"overdue: {is_overdue}", deadline_ms=5)
    if (rule := RULES[state]) is not None:
        builders.apply(store, process, rule)
    if is_overdue:
        builders.apply(store, process, lambda own: mark_overdue(own, now_ms=10), OWN_RECORD)
    return store.load(process.id)


def _old_counts(process: Process) -> str:
    """How many records count as each of the five states of steps, and as overdue."""
    states = [step.state.value for step in process.steps.values()]
    in_order = ("pending", "in_progress", "completed", "failed", "cancelled")
    return json.dumps([*(states.count(state) for state in in_order), int(process.own.last_error is not None)])


def _old(record: bytes, *, fields: int) -> bytes:
    """The record without the fields that were added since; the format's number comes before them all."""
    return json.dumps(json.loads(record)[: 1 + len(codec._FIELDS) - fields]).encode()


def _archived(row: dict[str, Any]) -> dict[str, Any]:
    step = codec.load_step(row["record"], name=row["name"], version=row["version"])
    told = {"state": step.state, "attempt": step.attempt, "last_error": step.last_error}
    return {**{name: row[name] for name in ("process_id", "position", "name", "version", "record")}, **told}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldDatabase]:
    """The tables of this release are there afterwards, and empty: other tests go on with them."""
    name = request.param
    url = f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    engine = engine_for(url, timeout_ms=20_000)
    without_tables(engine)
    yield OldDatabase(engine)
    without_tables(engine)
    schema.migrate(engine)
    engine.dispose()


@pytest.fixture
def store(old: OldDatabase) -> SQLAlchemyStore:
    schema.migrate(old.engine)
    return SQLAlchemyStore(old.engine, timeout_ms=20_000)


def test_every_old_process_is_listed_by_its_state_and_by_nothing_else(old: OldDatabase, store: SQLAlchemyStore) -> None:
    for listing in (store, SQLAlchemyArchive(old.engine)):
        for state in ProcessState:
            found = listing.list_processes(ProcessFilter(state=state))
            assert ({each.id for each in found}, {each.state for each in found}) == (old.ids(state=state), {state})
        assert {each.id for each in listing.list_processes(OVERDUE)} == old.ids(is_overdue=True)
        assert {each.id for each in listing.list_processes()} == old.ids()
        assert listing.list_processes(WITH_INCIDENT) == []


def test_an_old_process_is_read_as_it_was(old: OldDatabase, store: SQLAlchemyStore) -> None:
    archive = SQLAlchemyArchive(old.engine)

    for process in old.processes.values():
        for place in (store, archive):
            assert place.load(process.id).steps == process.steps
            assert [(event.kind, event.by) for event in place.history(process.id)] == [("process_started", "")]


def test_old_processes_are_counted(old: OldDatabase, store: SQLAlchemyStore) -> None:
    stats = store.stats()

    expected = Counter(ProcessGroup(process.process_type, *place, False) for place, process in old.processes.items())
    assert (stats.processes, stats.events, stats.lateness.count) == (expected, {}, 0)
    assert store.unrelayed() == (0, None)


def test_an_old_process_goes_on_with_counts_that_tell_of_incidents(old: OldDatabase, store: SQLAlchemyStore) -> None:
    process = old.processes[ProcessState.IN_PROGRESS, True]

    builders.apply(store, process, give_up)

    (listed,) = store.list_processes(WITH_INCIDENT)
    assert (listed.id, listed.state, dict(listed.step_counts)) == (process.id, ProcessState.FAILED, {"failed": 1})
    assert [each.id for each in store.list_processes(OVERDUE)] == [old.processes[ProcessState.PENDING, True].id]
    assert [event.kind for event in store.history(process.id)][-2:] == ["step_gave_up", "process_failed"]


def test_the_old_schema_is_there_again_after_a_step_back(old: OldDatabase, store: SQLAlchemyStore) -> None:
    given_up = builders.created(store)
    builders.apply(store, given_up, builders.start())
    builders.apply(store, given_up, give_up)

    old.go_to("0002", command.downgrade)

    numbers = {process.id: OLD_NUMBERS[place] for place, process in old.processes.items()}
    assert old.class_numbers(ArchivedProcessRow) == numbers
    assert old.class_numbers(ProcessRow) == {**numbers, given_up.id: OLD_NUMBERS[ProcessState.FAILED, False]}
    assert schema.current(old.engine) == "0002"
    schema.migrate(old.engine)
    assert {each.id for each in store.list_processes()} == {*old.ids(), given_up.id}


def test_there_is_a_way_back_to_no_tables_at_all(old: OldDatabase) -> None:
    schema.migrate(old.engine)

    old.go_to("base", command.downgrade)

    assert not set(inspect(old.engine).get_table_names()) & set(Base.metadata.tables)
