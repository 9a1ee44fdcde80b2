"""What the process repository in SQL promises beyond the contract of pairs: what it writes, repeats and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, event, make_url, update
from sqlalchemy.orm import Session

from tests.support.databases import emptied
from tests.support.proxy import Loss, Proxy
from trellis_celery import errors
from trellis_celery.bootstrap import open_store
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LastCheck, LeaseKey
from trellis_celery.repositories import RepositoryStore
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.settings import Settings
from trellis_celery.stores.redis import RedisStepTrackerRepository
from trellis_celery.stores.redis import backend as redis_backend
from trellis_celery.stores.sqlalchemy import SQLAlchemyProcessRepository
from trellis_celery.stores.sqlalchemy import backend as sql_backend
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.models import StepRow
from trellis_celery.stores.sqlalchemy.schema import migrate
from trellis_celery.testing import RecordingRequeuer
from trellis_celery.testing.contract import builders

TIMEOUT_MS = 5_000
COMPLETED = Event(EventKind.STEP_COMPLETED, "a", 0, 1)
#: More replies than any write here takes.
MANY_REPLIES = 60


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    name: str = request.param
    url = f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    engine = engine_for(url, timeout_ms=TIMEOUT_MS)
    migrate(engine)
    emptied(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def processes(engine: Engine) -> SQLAlchemyProcessRepository:
    return SQLAlchemyProcessRepository(engine, timeout_ms=TIMEOUT_MS)


def new_process(*names: str, aggregate_id: str = "1", deadline_ms: int | None = None) -> Process:
    return Process.start(
        tenant_id="tenant",
        process_type="Type",
        aggregate_type="Aggregate",
        aggregate_id=aggregate_id,
        steps=[ProcessStep(name) for name in names or ("a", "b")],
        deadline_ms=deadline_ms,
        now_ms=1_000,
    )


def completed(process: Process, *names: str) -> Process:
    """The same object, as its next version."""
    for name in names:
        process.complete_step(name, now_ms=2_000)
    process.version += 1
    return process


class TestWrites:
    def test_only_the_rows_of_changed_steps_are_written(
        self, engine: Engine, processes: SQLAlchemyProcessRepository
    ) -> None:
        process = new_process(*(f"step-{number}" for number in range(50)))
        processes.add(process)
        written: list[Any] = []

        @event.listens_for(engine, "before_cursor_execute")
        def listen(_connection: Any, _cursor: Any, statement: str, rows: Any, _context: Any, is_many: bool) -> None:
            if "trellis_steps" in statement and not statement.startswith("SELECT"):
                written.extend(rows if is_many else [rows])

        processes.save(completed(process, "step-7"))

        assert len(written) == 1
        assert processes.get_by_id(process.id) == process

    def test_a_process_is_replaced_with_all_that_it_is(self, processes: SQLAlchemyProcessRepository) -> None:
        process = new_process("a", "b", "c")
        processes.add(process)
        process.steps = {name: process.steps.get(name, ProcessStep(name).stored_as(1)) for name in ("c", "d", "a")}
        process.metadata = {"note": "new"}

        processes.save(completed(process, "a"))

        stored = processes.get_by_id(process.id)
        assert stored == process
        assert stored is not None
        assert list(stored.steps) == ["c", "d", "a"]

    def test_a_process_that_is_added_finished_holds_no_key(self, processes: SQLAlchemyProcessRepository) -> None:
        finished = completed(new_process(), "a", "b")
        processes.add(finished)

        processes.add(successor := new_process())

        assert processes.get_by_aggregate(finished.key) == successor
        assert [each.process_id for each in _waiting(processes)] == [finished.id]

    def test_a_damaged_process_does_not_hide_other_late_ones(
        self, engine: Engine, processes: SQLAlchemyProcessRepository
    ) -> None:
        damaged, late = (new_process(aggregate_id=name, deadline_ms=1_000) for name in ("1", "2"))
        processes.add(damaged)
        processes.add(late)
        with engine.begin() as connection:
            connection.execute(update(StepRow).where(StepRow.process_id == damaged.id).values(record=b"damaged"))

        assert processes.all_timed_out(now_ms=2_000, limit=10) == [late]
        assert processes.all_timed_out(now_ms=1_999, limit=10) == []
        with pytest.raises(errors.CorruptRecord):
            processes.get_by_id(damaged.id)


class TestRefusals:
    def test_a_stored_process_is_not_added_again(self, processes: SQLAlchemyProcessRepository) -> None:
        process, other = new_process(), new_process()
        processes.add(process)

        for added, there in ((process, process), (other, process)):
            with pytest.raises(errors.ProcessExists) as caught:
                processes.add(added)
            assert caught.value.process_id == there.id

    def test_what_is_to_be_replaced_keeps_its_key_if_another_is_in_the_way(
        self, processes: SQLAlchemyProcessRepository
    ) -> None:
        finished, holder = completed(new_process(), "a", "b"), new_process()
        processes.add(finished)
        processes.add(holder)

        with pytest.raises(errors.ProcessExists):
            processes.add(finished, replaces=holder.id)

        assert processes.get_by_aggregate(holder.key) == holder

    def test_a_stale_process_changes_nothing(self, processes: SQLAlchemyProcessRepository) -> None:
        process = new_process()
        processes.add(process)
        stale = completed(new_process(), "a")
        stale.id, stale.version = process.id, 2

        with pytest.raises(errors.StaleWrite):
            processes.save(stale, [COMPLETED])

        assert processes.get_by_id(process.id) == process
        assert processes.history(process.id) == []

    def test_a_reopened_process_leaves_the_key_to_its_successor(self, processes: SQLAlchemyProcessRepository) -> None:
        process, successor = new_process(), new_process()
        processes.add(process)
        processes.save(completed(process, "a", "b"))
        processes.add(successor)
        process.steps["a"] = ProcessStep("a").stored_as(1)
        processes.save(completed(process))
        assert processes.get_by_aggregate(process.key) == successor

        processes.delete(successor.id, version=0)
        processes.save(completed(process))

        assert processes.get_by_aggregate(process.key) == process


class TestTransactions:
    @pytest.mark.fault("A17")
    def test_in_the_applications_transaction_all_is_written_or_nothing(self, engine: Engine) -> None:
        process = new_process()
        with Session(engine) as session:
            inside = SQLAlchemyProcessRepository(session)
            inside.add(process)
            with pytest.raises(errors.ProcessExists):
                inside.add(new_process())
            assert inside.get_by_id(process.id) == process
            session.rollback()

        assert SQLAlchemyProcessRepository(engine).get_by_id(process.id) is None

    @pytest.mark.parametrize("what", ["add", "save"])
    def test_a_write_whose_reply_was_lost_is_recognised(self, postgresql_url: str, what: str) -> None:
        lost = 0
        for replies_before in range(MANY_REPLIES):
            with Proxy(make_url(postgresql_url).port or 0) as proxy:
                process = new_process(aggregate_id=f"{what}-{replies_before}")
                url = make_url(postgresql_url).set(port=proxy.port)
                engine = engine_for(url.render_as_string(hide_password=False), timeout_ms=TIMEOUT_MS)
                migrate(engine)
                processes = SQLAlchemyProcessRepository(engine, timeout_ms=TIMEOUT_MS)
                processes.now_ms()
                if what == "save":
                    processes.add(process)
                    completed(process, "a")
                proxy.lose_after(replies_before, Loss.RESET)

                (processes.add if what == "add" else processes.save)(process, [COMPLETED])

                was_lost = proxy.lost
                proxy.lose()
                lost += was_lost
                if not was_lost:
                    engine.dispose()
                    break
                assert processes.get_by_id(process.id) == process
                assert processes.history(process.id) == [COMPLETED]
                engine.dispose()
        assert lost > 3


class TestPairByUrls:
    @pytest.fixture
    def settings(self, postgresql_url: str, redis_url: str) -> Settings:
        return Settings(url=postgresql_url, tracker_url=redis_url, store_timeout_ms=TIMEOUT_MS)

    @pytest.fixture
    def store(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[RepositoryStore]:
        """As a program opens it that knows two URLs. What it opens is closed afterwards."""
        engines: list[Engine] = []
        clients: list[Redis] = []

        def open_engine(*args: Any, **kwargs: Any) -> Engine:
            engines.append(engine_for(*args, **kwargs))
            migrate(engines[-1])
            emptied(engines[-1])
            return engines[-1]

        def open_client(*args: Any, **kwargs: Any) -> Any:
            clients.append(redis_connect(*args, **kwargs))
            return clients[-1]

        redis_connect: Any = redis_backend.connect
        monkeypatch.setattr(sql_backend, "engine_for", open_engine)
        monkeypatch.setattr(redis_backend, "connect", open_client)
        store = open_store(settings)
        assert isinstance(store, RepositoryStore)
        yield store
        for one in engines:
            one.dispose()
        for client in clients:
            client.close()

    def test_a_step_whose_worker_is_lost_is_sent_again(self, store: RepositoryStore) -> None:
        assert isinstance(store._process_repository, SQLAlchemyProcessRepository)
        assert isinstance(store._tracker_repository, RedisStepTrackerRepository)
        step = ProcessStep("step", timeout_ms=builders.MINUTE_MS, retries_permitted=2)
        process = builders.created(store, step, "other")
        now_ms = store.now_ms()
        builders.apply(store, process, builders.queue(at_ms=now_ms), message=b"message")
        builders.apply(store, process, builders.start(at_ms=now_ms, is_leased=True), lease_ms=builders.MINUTE_MS)
        store.note_check(LastCheck(now_ms, "another", 0))
        requeuer = RecordingRequeuer()
        checker = TimeoutCheckerService(store, requeuer=requeuer)
        assert checker.check_for_timed_out_steps().retried == 0

        store.renew([LeaseKey(process.id, "step", 1)], until_ms=now_ms)
        report = checker.check_for_timed_out_steps()

        assert report.retried == 1
        ((sent, message),) = [(each.step, each.message) for each in requeuer.sent]
        assert (sent.name, sent.attempt, message) == ("step", 2, b"message")
        assert store.load(process.id).step("step").attempt == 2
        assert [each.id for each in store.list_processes()] == [process.id]


def _waiting(processes: SQLAlchemyProcessRepository) -> list[Any]:
    return processes.finished(is_archived=False, until_ms=None, limit=10, after=None)
