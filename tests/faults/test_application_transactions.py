"""Tasks that wait for a transaction of the application, which is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import django
import pytest
from celery import Celery
from celery.contrib.django.task import DjangoTask
from django.conf import settings
from django.db import connection, transaction

from trellis_celery import EventKind, ProcessHandle, ProcessType, Step, Trellis, process_step
from trellis_celery.ports import StepKey


class Order(ProcessType):
    ship = Step(timeout_ms=60_000)


@pytest.fixture(scope="module", autouse=True)
def _django() -> Iterator[None]:
    """An application with a database."""
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
        django.setup()
    yield
    connection.close()


class Shop:
    def __init__(self, redis_url: str) -> None:
        self.app = Celery("shop", broker=redis_url, set_as_current=False, task_cls=DjangoTask)
        self.app.conf.update(trellis_url=redis_url, task_ignore_result=True)
        self.trellis = Trellis(self.app)

        @process_step(Order.ship)
        @self.app.task(name="shop.ship", shared=False)
        def ship(order: str) -> None: ...

        self.ship = ship
        self.process: ProcessHandle = self.trellis.start_process(
            Order, tenant_id="shop", aggregate_type="Order", aggregate_id="1"
        )

    def was_sent(self) -> bool:
        """Whether the step was registered, and its message sent: both or none."""
        kinds = [event.kind for event in self.process.refresh().history()]
        with self.app.connection_for_read() as broker:
            message = broker.default_channel.basic_get("celery", no_ack=True)
        (kept,) = self.trellis.store.load_messages([StepKey(self.process.id, "ship")])
        sent = {EventKind.STEP_QUEUED in kinds, message is not None, kept is not None}
        assert len(sent) == 1, "half sent"
        return sent.pop()


@pytest.fixture
def shop(redis_url: str) -> Iterator[Shop]:
    shop = Shop(redis_url)
    yield shop
    shop.app.close()


class OutOfStock(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction that the application thinks better of."""
    with suppress(OutOfStock), transaction.atomic():
        yield
        raise OutOfStock


@pytest.mark.fault("A17")
def test_a17_a_task_that_waited_for_a_commit_is_not_registered_if_it_never_comes(shop: Shop) -> None:
    with shop.process, rolled_back():
        shop.ship.delay_on_commit("1")

    assert not shop.was_sent()
    assert shop.process.steps["ship"].attempt == 0


@pytest.mark.fault("A17")
def test_a17_a_task_that_waited_for_a_commit_is_registered_when_it_comes(shop: Shop) -> None:
    with shop.process:
        with transaction.atomic():
            shop.ship.delay_on_commit("1")
            assert not shop.was_sent()

        assert shop.was_sent()


@pytest.mark.fault("A17")
@pytest.mark.parametrize("block", [transaction.atomic, rolled_back])
def test_a17_a_process_that_is_entered_by_what_waits_may_be_within_the_transaction(
    shop: Shop, block: Callable[[], AbstractContextManager[object]]
) -> None:
    def send() -> None:
        with shop.process:
            shop.ship.delay("1")

    with block():
        transaction.on_commit(send)
        assert not shop.was_sent()

    assert shop.was_sent() is (block is transaction.atomic)
