"""What the SQL store does when the database, the network or what is stored is not as it should be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from tests.support import databases
from tests.support.databases import Server, emptied
from tests.support.programs import free_port
from tests.support.proxy import Loss, Proxy
from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, Committed, LastCheck, LeaseKey, StepKey
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.models import LogRow, ProcessRow, StepRow
from trellis_celery.stores.sqlalchemy.schema import migrate
from trellis_celery.testing.contract import builders

TIMEOUT_MS = 2_000
#: What a busy machine may add to a time limit.
SLACK_MS = 2_500
TIMED = ProcessStep("step", timeout_ms=1_000, retries_permitted=2)
SERVERS = {"postgresql": databases.postgresql, "mariadb": databases.mariadb}


@contextmanager
def takes_at_most(limit_ms: int) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert (time.monotonic() - began) * 1000 <= limit_ms


def new_engine(url: str, *, timeout_ms: int = TIMEOUT_MS) -> Engine:
    return engine_for(url, timeout_ms=timeout_ms)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = new_engine(url)
    migrate(engine)
    emptied(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> SQLAlchemyStore:
    return SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own, which a test may kill."""
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        engine = new_engine(server.url, timeout_ms=20_000)
        migrate(engine)
        engine.dispose()
        yield server


@pytest.fixture
def fragile(server: Server) -> Iterator[SQLAlchemyStore]:
    """A store over the server that may be killed."""
    engine = new_engine(server.url)
    yield SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)
    engine.dispose()


def started(store: SQLAlchemyStore, process: Process, **fields: Any) -> Change:
    return builders.change(process, builders.start(at_ms=store.now_ms(), is_leased=True), lease_ms=60_000, **fields)


class TestOutages:
    def test_a_server_that_was_started_again_between_two_calls_is_not_noticed(
        self, server: Server, fragile: SQLAlchemyStore
    ) -> None:
        process = builders.created(fragile, TIMED)

        server.kill()
        server.start()
        (outcome,) = fragile.commit([started(fragile, process)])

        assert isinstance(outcome, Committed)
        assert fragile.load(process.id).step("step") == outcome.step

    def test_a_server_that_is_gone_is_told_as_unavailable_and_used_when_it_is_back(
        self, server: Server, fragile: SQLAlchemyStore
    ) -> None:
        process = builders.created(fragile, TIMED)
        change = started(fragile, process)
        server.kill()
        try:
            with takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable):
                fragile.load(process.id)
            with takes_at_most(TIMEOUT_MS + SLACK_MS):
                outcomes = fragile.commit([change, change])
        finally:
            server.start()

        assert [type(outcome) for outcome in outcomes] == [errors.StoreUnavailable] * 2
        assert isinstance(fragile.commit([change])[0], Committed)

    @pytest.mark.fault("B12", "S10")
    def test_a_server_that_stops_answering_holds_nobody_up(self, server: Server, fragile: SQLAlchemyStore) -> None:
        process = builders.created(fragile, TIMED)
        change = started(fragile, process)
        server.stop_answering()
        try:
            with takes_at_most(TIMEOUT_MS + 2 * SLACK_MS):
                (outcome,) = fragile.commit([change])
        finally:
            server.answer_again()

        assert isinstance(outcome, errors.StoreUnavailable)
        assert isinstance(fragile.commit([change])[0], Committed)

    @pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
    def test_a_server_that_is_not_there_is_told_as_unavailable(self, scheme: str) -> None:
        engine = new_engine(f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/db")
        store = SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)

        for call in (store.now_ms, store.last_check):
            with takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable) as caught:
                call()
            assert "s3cret" not in str(caught.value)
        engine.dispose()


class TestLostReplies:
    @pytest.mark.fault("B11")
    #: How many replies come before the lost one: each statement of a commit is hit, and its end.
    @pytest.mark.parametrize("replies_before", range(8))
    def test_a_commit_whose_connection_breaks_anywhere_is_done_once(
        self, server: Server, fragile: SQLAlchemyStore, replies_before: int
    ) -> None:
        process = builders.created(fragile, TIMED)
        with Proxy(server.port) as proxy:
            engine = new_engine(make_url(server.url).set(port=proxy.port).render_as_string(hide_password=False))
            lossy = SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)
            change = started(lossy, process, message=b"message")
            proxy.lose_after(replies_before, Loss.RESET)

            (outcome,) = lossy.commit([change])
            lossy.last_check()
            engine.dispose()

        assert isinstance(outcome, Committed), outcome
        assert fragile.load(process.id).step("step") == outcome.step
        assert len(fragile.history(process.id)) == 2


class TestLocks:
    def test_a_row_that_somebody_holds_is_waited_for_no_longer_than_the_limit(
        self, engine: Engine, store: SQLAlchemyStore
    ) -> None:
        held, free = builders.created(store, TIMED), builders.created(store, TIMED)
        changes = [started(store, held), started(store, free)]
        with engine.connect() as other:
            other.execute(update(ProcessRow).where(ProcessRow.id == held.id).values(version=ProcessRow.version))
            with takes_at_most(2 * TIMEOUT_MS + SLACK_MS):
                outcomes = store.commit(changes)
            other.rollback()

        assert isinstance(outcomes[0], errors.StoreUnavailable)
        if engine.dialect.name != "sqlite":  # which has one lock for all
            assert isinstance(outcomes[1], Committed)
        assert isinstance(store.commit(changes[:1])[0], Committed)

    def test_a_checker_passes_over_what_somebody_is_just_writing(self, engine: Engine, store: SQLAlchemyStore) -> None:
        if engine.dialect.name == "sqlite":
            pytest.skip("it has no locks on rows")
        busy, idle = builders.created(store, TIMED), builders.created(store, TIMED)
        for process in (busy, idle):
            builders.apply(store, process, builders.start(at_ms=1_000, is_leased=True), lease_ms=1)
        with engine.connect() as other:
            other.execute(select(StepRow.name).where(StepRow.process_id == busy.id).with_for_update())
            due = store.due(now_ms=10**14, limit=10)
            other.rollback()

        assert [item.key.process_id for item in due] == [idle.id] * 2
        assert len(store.due(now_ms=10**14, limit=10)) == 4

    def test_the_servers_own_limit_leaves_the_connection_usable(self, url: str) -> None:
        if not url.startswith("postgresql"):
            pytest.skip("it has no such limit")
        engine = new_engine(f"{url}?options=-c%20search_path=public")

        with engine.connect() as connection:
            assert connection.scalar(text("SHOW statement_timeout")) == "1s"
            assert connection.scalar(text("SHOW lock_timeout")) == "750ms"
            assert connection.scalar(text("SHOW search_path")) == "public"
        engine.dispose()


class TestForeignData:
    def _spoil(self, engine: Engine, process: Process, step_name: str, record: bytes) -> None:
        spoilt = (StepRow.process_id == process.id) & (StepRow.name == step_name)
        with engine.begin() as connection:
            connection.execute(update(StepRow).where(spoilt).values(record=record, version=7))

    @pytest.mark.fault("S8")
    @pytest.mark.parametrize("garbage", [b"", b"nonsense", b"{}", b"[1]", b"\xff"])
    def test_a_damaged_record_is_an_error_of_its_step_alone(
        self, engine: Engine, store: SQLAlchemyStore, garbage: bytes
    ) -> None:
        process = builders.created(store, "good", "bad")
        self._spoil(engine, process, "bad", garbage)

        good, bad = store.load_steps([StepKey(process.id, "good"), StepKey(process.id, "bad")])
        outcomes = store.commit([builders.change(process, builders.complete(), name) for name in ("bad", "good")])

        assert good == process.step("good")
        assert isinstance(bad, errors.CorruptRecord)
        assert [type(outcome) for outcome in outcomes] == [errors.CorruptRecord, Committed]
        with pytest.raises(errors.CorruptRecord):
            store.load(process.id)

    @pytest.mark.parametrize("garbage", ["", "nonsense", "{}", "[]", '["a"]'])
    def test_damaged_counts_stop_and_hide_no_other_process(
        self, engine: Engine, store: SQLAlchemyStore, garbage: str
    ) -> None:
        good, bad = builders.created(store), builders.created(store)
        with engine.begin() as connection:
            connection.execute(update(ProcessRow).where(ProcessRow.id == bad.id).values(counts=garbage))

        outcomes = store.commit([builders.change(each, builders.complete()) for each in (bad, good)])

        assert [type(outcome) for outcome in outcomes] == [errors.CorruptRecord, Committed]
        assert [each.id for each in store.list_processes()] == [good.id]

    def test_a_log_entry_that_is_not_ours_is_an_error_of_ours(self, engine: Engine, store: SQLAlchemyStore) -> None:
        process = builders.created(store)
        with engine.begin() as connection:
            connection.execute(LogRow.__table__.insert(), {"process_id": process.id, "entry": b"nonsense"})  # type: ignore[attr-defined]

        with pytest.raises(errors.CorruptRecord):
            store.history(process.id)

    def test_keys_that_nothing_can_have_lead_nowhere(self, store: SQLAlchemyStore) -> None:
        process = builders.created(store)
        keys = [StepKey(process.id, "a\0b"), StepKey(process.id, "\ud800"), StepKey("é\0", "step"), StepKey("", "")]

        assert store.load_steps(keys) == store.load_messages(keys) == [None] * 4
        assert store.history("a\0b") == []
        assert not store.delete("a\0b")
        with pytest.raises(errors.ProcessNotFound):
            store.load("a\0b")


class TestTheApplicationsTransaction:
    @pytest.fixture(params=["session", "connection"])
    def open_transaction(self, request: pytest.FixtureRequest, engine: Engine) -> Callable[[], Any]:
        return (lambda: Session(engine)) if request.param == "session" else engine.connect

    @pytest.mark.fault("A17")
    def test_a_rollback_of_the_application_undoes_what_the_store_wrote(
        self, store: SQLAlchemyStore, open_transaction: Callable[[], Any]
    ) -> None:
        existing = builders.created(store)
        with closing(open_transaction()) as own:
            joined = SQLAlchemyStore(own)
            process = builders.created(joined)
            builders.apply(joined, process, builders.start())
            builders.apply(joined, existing, builders.complete())
            assert joined.load(process.id).id == process.id
            own.rollback()

        assert [each.id for each in store.list_processes()] == [existing.id]
        assert builders.loaded_step(store, existing).version == 1

    def test_a_commit_of_the_application_makes_its_rows_and_the_process_visible_together(
        self, engine: Engine, store: SQLAlchemyStore, open_transaction: Callable[[], Any]
    ) -> None:
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS test_orders"))
            connection.execute(text("CREATE TABLE test_orders (id INTEGER PRIMARY KEY)"))
        with closing(open_transaction()) as own:
            own.execute(text("INSERT INTO test_orders VALUES (1)"))
            process = builders.created(SQLAlchemyStore(own))
            assert store.list_processes() == []
            own.commit()

        assert [each.id for each in store.list_processes()] == [process.id]
        with engine.begin() as connection:
            assert connection.scalar(text("SELECT count(*) FROM test_orders")) == 1
            connection.execute(text("DROP TABLE test_orders"))

    def test_a_refused_call_leaves_the_applications_transaction_usable(
        self, store: SQLAlchemyStore, open_transaction: Callable[[], Any]
    ) -> None:
        first = builders.created(store, aggregate_id="one")
        with closing(open_transaction()) as own:
            joined = SQLAlchemyStore(own)
            assert joined.create(builders.new_process(joined, aggregate_id="one")) == first.id
            with pytest.raises(errors.ProcessNotFound):
                joined.load(builders.UNKNOWN_ID)
            second = builders.created(joined)
            own.commit()

        assert store.load(second.id).id == second.id

    def test_a_store_over_a_sessionmaker_has_transactions_of_its_own(self, engine: Engine) -> None:
        own = SQLAlchemyStore(sessionmaker(engine))

        process = builders.created(own)

        assert SQLAlchemyStore(engine).load(process.id).id == process.id


@pytest.mark.fault("A18")
def test_a_store_that_was_used_before_a_fork_works_in_the_parent_and_in_the_child(store: SQLAlchemyStore) -> None:
    _use_in_parent_and_child(store)


@pytest.mark.fault("A18")
@pytest.mark.parametrize("bind", [lambda engine: engine, sessionmaker], ids=["engine", "sessionmaker"])
def test_an_engine_of_the_applications_own_is_safe_in_forked_workers_too(
    engine: Engine, bind: Callable[[Engine], Any]
) -> None:
    own = create_engine(engine.url)
    _use_in_parent_and_child(SQLAlchemyStore(bind(own), timeout_ms=TIMEOUT_MS))
    own.dispose()


def _use_in_parent_and_child(store: SQLAlchemyStore) -> None:
    process = builders.created(store, "parent", "child")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            builders.apply(store, process, builders.complete(), "child")
            status = 0
        finally:
            os._exit(status)
    for _ in range(20):
        store.renew([LeaseKey(process.id, "parent", 1)], until_ms=1)
    builders.apply(store, process, builders.complete(), "parent")

    assert os.waitpid(child, 0)[1] == 0
    assert store.load(process.id).is_completed()
    assert store.last_check() == LastCheck()
