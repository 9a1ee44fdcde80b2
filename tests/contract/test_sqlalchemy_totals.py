"""The table of totals stays small, and the sums in it what they are, however many write and put together at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.orm import Session

from tests.support.databases import emptied
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.queries import EventGroup
from trellis_celery.ports import LastCheck
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore, schema, totals
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.models import TotalRow
from trellis_celery.stores.tallies import Tally
from trellis_celery.testing.contract import builders

TIMEOUT_MS = 20_000
DATABASES = ["sqlite", "postgresql", "mariadb"]
CHECK = LastCheck(at_ms=1, by="a test")


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = request.param
    return f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = engine_for(url, timeout_ms=TIMEOUT_MS)
    schema.migrate(engine)
    emptied(engine)
    yield engine
    emptied(engine)
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> SQLAlchemyStore:
    return SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "FEWEST", 20)


@pytest.fixture
def looks_at_few(monkeypatch: pytest.MonkeyPatch, looks_often: None) -> None:
    monkeypatch.setattr(totals, "SEEN", 1_000)
    monkeypatch.setattr(totals, "MOST", 100)


def rows_in(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(TotalRow)) or 0


def add(engine: Engine, kinds: range, *, amount: int = 1) -> None:
    """One transaction that writes one event of each of these types."""
    added = totals.Totals()
    for number in kinds:
        added.add(f"Type {number}", [Tally("", EventKind.PROCESS_STARTED, amount)])
    with engine.begin() as connection:
        added.write(connection)


def amounts(store: SQLAlchemyStore) -> set[int]:
    return set(store.stats().events.values())


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.usefixtures("looks_often")
def test_many_commits_and_checks_leave_few_rows_and_the_right_sums(store: SQLAlchemyStore, engine: Engine) -> None:
    most = 0
    for number in range(150):
        process = builders.created(store, process_type="A")
        builders.apply(store, process, builders.start())
        builders.apply(store, process, builders.complete())
        if number % 10 == 9:
            store.note_check(CHECK)
            most = max(most, rows_in(engine))

    written, kinds = 150 * 4, 4
    assert most <= kinds + totals.FEWEST < written
    assert store.stats().events == {
        EventGroup("A", "", EventKind.PROCESS_STARTED): 150,
        EventGroup("A", "step", EventKind.STEP_STARTED): 150,
        EventGroup("A", "step", EventKind.STEP_COMPLETED): 150,
        EventGroup("A", "", EventKind.PROCESS_COMPLETED): 150,
    }


@pytest.mark.usefixtures("looks_at_few")
@pytest.mark.parametrize("kinds", [10, 90, 300])
def test_the_table_stays_small_however_many_totals_there_are(
    store: SQLAlchemyStore, engine: Engine, kinds: int
) -> None:
    """At most 100 rows are put together at a time: fewer than some of these tables have totals."""
    times = 20
    most = 0
    for _ in range(times):
        for start in range(0, kinds, 50):
            add(engine, range(start, min(start + 50, kinds)))
            store.note_check(CHECK)
        most = max(most, rows_in(engine))

    assert most <= kinds + totals.FEWEST + 50 < times * kinds
    assert amounts(store) == {times}
    assert len(store.stats().events) == kinds


@pytest.mark.usefixtures("looks_at_few")
def test_what_has_piled_up_goes_check_by_check(store: SQLAlchemyStore, engine: Engine) -> None:
    for _ in range(50):
        add(engine, range(10))
    left = []

    for _ in range(7):
        store.note_check(CHECK)
        left.append(rows_in(engine))

    assert left[0] >= 500 - totals.MOST
    assert left[-1] == 10
    assert amounts(store) == {50}


def test_nothing_is_read_again_that_somebody_has_looked_at(store: SQLAlchemyStore, engine: Engine) -> None:
    for _ in range(2):
        add(engine, range(totals.FEWEST // 2 + 1))
    add(engine, range(totals.FEWEST // 2 + 1, totals.FEWEST))
    store.note_check(CHECK)
    left = rows_in(engine)
    store.note_check(CHECK)

    with statements(engine) as sent:
        store.note_check(CHECK)

    assert rows_in(engine) == left
    assert [statement for statement in sent if "trellis_totals" in statement and "max(" not in statement] == []


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("isolation_level", [None, "SERIALIZABLE"])
def test_two_that_put_rows_together_while_two_write_lose_and_double_nothing(
    url: str, engine: Engine, isolation_level: str | None
) -> None:
    """An engine of the application's own has other levels of isolation than ours."""
    is_done = Event()
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        stores = [SQLAlchemyStore(_own(stack, url, isolation_level), timeout_ms=TIMEOUT_MS) for _ in range(4)]
        folders = [threads.submit(_check_until, is_done, store) for store in stores[:2]]
        writers = [threads.submit(_create, store, 80, pause_s=0.005) for store in stores[2:]]
        try:
            seen = _watch(SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS), writers)
        finally:
            is_done.set()
        for writer in writers:
            writer.result()
        SQLAlchemyStore(engine).note_check(CHECK)

        assert seen == sorted(seen)
        assert amounts(SQLAlchemyStore(engine)) == {160}
        assert sum(folder.result() for folder in folders) > 0
        assert rows_in(engine) <= 1 + totals.FEWEST


def _own(stack: ExitStack, url: str, isolation_level: str | None) -> Engine:
    if isolation_level is None:
        engine = engine_for(url, timeout_ms=TIMEOUT_MS)
    else:
        engine = create_engine(url, isolation_level=isolation_level)
    stack.callback(engine.dispose)
    return engine


def _check_until(is_done: Event, store: SQLAlchemyStore) -> int:
    """How often rows were put together."""
    with statements(store.transactions.run(lambda connection: connection.engine)) as sent:
        while not is_done.is_set():
            store.note_check(CHECK)
    return sum(statement.startswith("DELETE") for statement in sent)


def _create(store: SQLAlchemyStore, count: int, *, pause_s: float = 0) -> None:
    """`pause_s`: in which others get at a file that one writer at a time may lock."""
    for _ in range(count):
        builders.created(store, process_type="A")
        time.sleep(pause_s)


def _watch(store: SQLAlchemyStore, writers: list[Future[None]]) -> list[int]:
    """The sums that a reader sees meanwhile."""
    seen = []
    while not all(writer.done() for writer in writers):
        seen.append(sum(store.stats().events.values()))
    return seen


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_one_who_writes_all_the_time_keeps_nobody_in_sqlite_from_putting_rows_together(
    store: SQLAlchemyStore, engine: Engine
) -> None:
    """Whoever has read before writing would be refused there."""
    is_done = Event()

    def write() -> int:
        written = 0
        while not is_done.is_set():
            add(engine, range(1))
            written += 1
        return written

    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        try:
            for _ in range(10):
                add(engine, range(300))
                store.transactions.run(totals.fold, until_s=monotonic())
        finally:
            is_done.set()

    assert sum(store.stats().events.values()) == 10 * 300 + writer.result() > 10 * 300


@pytest.mark.usefixtures("looks_often")
def test_who_dies_while_putting_rows_together_loses_nothing(store: SQLAlchemyStore, engine: Engine) -> None:
    for _ in range(30):
        add(engine, range(3))

    def die(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO trellis_totals"):
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        store.note_check(CHECK)
    event.remove(engine, "before_cursor_execute", die)

    assert (amounts(store), rows_in(engine)) == ({30}, 90)
    SQLAlchemyStore(engine).note_check(CHECK)
    assert (amounts(store), rows_in(engine)) == ({30}, 3)


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("rows", [30, 300, 3_000])
def test_a_transaction_that_stays_open_holds_up_no_check(store: SQLAlchemyStore, engine: Engine, rows: int) -> None:
    """In SQLite there is one writer at a time, whoever it is."""
    for _ in range(rows // 3 - 1):
        add(engine, range(3))

    with Session(engine) as session:
        process = builders.created(SQLAlchemyStore(session), process_type="Type 0")
        add(engine, range(3))
        began_s = monotonic()
        store.note_check(CHECK)
        took_s = monotonic() - began_s
        assert rows_in(engine) == 3
        session.commit()

    assert took_s < TIMEOUT_MS / 1000 / 4
    started = store.stats().events[EventGroup("Type 0", "", EventKind.PROCESS_STARTED)]
    assert (started, store.load(process.id).id) == (rows // 3 + 1, process.id)
