"""Many messages sent again at once, on real brokers: what is wrong with one of them is no matter of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)
from kombu.utils import json
from msgspec.structs import replace

from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, Trellis, errors, process_step
from trellis_celery.plugin import message
from trellis_celery.plugin.requeue import CeleryRequeuer
from trellis_celery.ports import Sending, StepKey

MANY = 300


class Post(ProcessType):
    carry = Step()


@dataclass(frozen=True)
class Office:
    """An app with one queue of its own, and stored messages for it."""

    app: Celery
    queue: str

    def sendings(self, count: int, **options: Any) -> list[Sending]:
        """Of steps whose messages were lost."""
        trellis: Trellis = self.app.trellis  # type: ignore[attr-defined]
        processes = []
        for number in range(count):
            process = trellis.start_process(
                Post, tenant_id="t", aggregate_type="Letter", aggregate_id=f"{self.queue}/{number}"
            )
            with process:
                self.app.tasks["carry"].apply_async((number,), queue=self.queue, **options)
            processes.append(process)
        self.take()
        stored = trellis.store.load_messages([StepKey(process.id, "carry") for process in processes])
        steps = [process.refresh().steps["carry"] for process in processes]
        return [Sending(process.id, step, each) for process, step, each in zip(processes, steps, stored, strict=True)]

    def take(self) -> list[int]:
        """The arguments of what is in the queue, which is empty afterwards."""
        with self.app.connection_for_read() as connection:
            queue = self.app.amqp.queues[self.queue](connection.default_channel)
            found = []
            while (each := queue.get(no_ack=True)) is not None:
                found.append(each.payload[0][0])
            return found

    def requeue(self, sendings: list[Sending]) -> list[Exception | None]:
        return CeleryRequeuer(self.app).requeue(sendings)


@pytest.fixture(params=["redis", "rabbitmq", "memory"])
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    yield from _open(url)


@pytest.fixture
def rabbitmq_office(rabbitmq_url: str) -> Iterator[Office]:
    yield from _open(rabbitmq_url)


def _open(broker_url: str) -> Iterator[Office]:
    app, queue = Celery("post", broker=broker_url, set_as_current=False), f"post-{uuid4().hex}"
    app.conf.update(
        trellis_url="memory://", task_queues=[Queue(queue, routing_key=queue)], task_create_missing_queues=False
    )
    Trellis(app)

    @process_step(Post.carry)
    @app.task(shared=False, name="carry")
    def carry(number: int) -> None: ...

    yield Office(app, queue)
    app.close()


def altered(sending: Sending, alter: Callable[[message.Message], dict[str, Any]]) -> Sending:
    stored = message.load(sending.message or b"")
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__} | alter(stored)
    return replace(sending, message=message.Message(**fields).dump())


def of_no_priority(_: message.Message) -> dict[str, Any]:
    return {"properties": json.dumps({"priority": "urgent"})}


def to_nowhere(_: message.Message) -> dict[str, Any]:
    return {"exchange": f"none-{uuid4().hex}"}


def test_all_of_a_batch_are_sent_once(office: Office) -> None:
    sendings = office.sendings(MANY)

    assert office.requeue(sendings) == [None] * MANY

    eventually_taken(office, Counter(range(MANY)))


def eventually_taken(office: Office, expected: Counter[int]) -> None:
    taken: Counter[int] = Counter()

    def has_all() -> bool:
        taken.update(office.take())
        return taken == expected

    eventually(has_all, what="all in the queue")


@pytest.mark.parametrize("place", [0, MANY // 2, MANY - 1])
def test_one_that_is_damaged_does_not_keep_the_others(office: Office, place: int) -> None:
    sendings = office.sendings(MANY)
    sendings[place] = replace(sendings[place], message=b"damaged")

    outcomes = office.requeue(sendings)

    assert isinstance(outcomes.pop(place), errors.MessageUnsendable)
    assert outcomes == [None] * (MANY - 1)
    eventually_taken(office, Counter(range(MANY)) - Counter([place]))


def test_one_that_the_library_cannot_write_does_not_keep_the_others(rabbitmq_office: Office) -> None:
    sendings = rabbitmq_office.sendings(20)
    sendings[7] = altered(sendings[7], of_no_priority)

    outcomes = rabbitmq_office.requeue(sendings)

    assert isinstance(outcomes.pop(7), errors.MessageUnsendable)
    assert outcomes == [None] * 19
    assert set(rabbitmq_office.take()) == set(range(20)) - {7}


def test_one_for_an_exchange_that_is_gone_closes_the_channel_and_does_not_keep_the_others(
    rabbitmq_office: Office,
) -> None:
    sendings = rabbitmq_office.sendings(20)
    sendings[7] = altered(sendings[7], to_nowhere)

    outcomes = rabbitmq_office.requeue(sendings)

    gone = outcomes.pop(7)
    assert "no exchange" in str(gone)
    assert not isinstance(gone, errors.MessageUnsendable), "it may be declared again"
    assert outcomes == [None] * 19
    assert set(rabbitmq_office.take()) == set(range(20)) - {7}


def test_what_a_full_queue_refuses_is_told_one_by_one(rabbitmq_office: Office) -> None:
    sendings = rabbitmq_office.sendings(5)
    full = Queue(f"{rabbitmq_office.queue}-full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    rabbitmq_office.app.amqp.queues.add(full)
    sendings = [
        altered(each, lambda _: {"routing_key": full.name}) if number in (1, 3) else each
        for number, each in enumerate(sendings)
    ]

    outcomes = rabbitmq_office.requeue(sendings)

    refused = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert refused == [3]
    assert not isinstance(outcomes[3], errors.MessageUnsendable), "it is worth trying again"
    assert sorted(rabbitmq_office.take()) == [0, 2, 4]


def test_a_queue_that_was_declared_with_other_arguments_takes_what_is_sent_again(rabbitmq_office: Office) -> None:
    sendings = rabbitmq_office.sendings(3)
    as_another_program_has_it = Queue(
        rabbitmq_office.queue, routing_key=rabbitmq_office.queue, queue_arguments={"x-max-priority": 5}
    )
    rabbitmq_office.app.amqp.queues[rabbitmq_office.queue] = as_another_program_has_it

    assert rabbitmq_office.requeue(sendings) == [None] * 3

    assert taken_by_name(rabbitmq_office) == [0, 1, 2]


def taken_by_name(office: Office) -> list[int]:
    """What is in the queue, which is not declared."""
    with office.app.connection_for_read() as connection:
        queue = Queue(office.queue, channel=connection.default_channel, no_declare=True)
        return [each.payload[0][0] for each in iter(lambda: queue.get(no_ack=True), None)]


def test_a_message_that_rabbitmq_was_to_deliver_later_is_sent_again_to_its_queue(rabbitmq_url: str) -> None:
    (office,) = _open(rabbitmq_url)
    queue = Queue(
        office.queue,
        Exchange(f"{office.queue}-topics", type="topic"),
        routing_key="hi.prio",
        queue_arguments={"x-queue-type": "quorum"},
    )
    office.app.conf.task_queues = [queue]
    office.app.amqp.queues = office.app.amqp.Queues([queue])
    with office.app.connection_for_write() as connection:  # as workers do
        declare_native_delayed_delivery_exchanges_and_queues(connection, "classic")
        queue(connection.default_channel).declare()
        bind_queue_to_native_delayed_delivery_exchange(connection, queue)
    sendings = office.sendings(3, countdown=3_600)
    exchanges = {message.load(sending.message or b"").exchange for sending in sendings}
    assert exchanges == {"celery_delayed_delivery"}

    assert office.requeue(sendings) == [None] * 3

    eventually_taken(office, Counter(range(3)))


def test_each_host_of_a_failover_list_is_tried(rabbitmq_office: Office, rabbitmq_url: str) -> None:
    sendings = rabbitmq_office.sendings(3)
    hosts = ";".join(["amqp://localhost:1//", "amqp://localhost:2//", "amqp://localhost:3//", rabbitmq_url])
    app = Celery("failover", broker=hosts, set_as_current=False)
    app.conf.task_queues = rabbitmq_office.app.conf.task_queues

    assert Office(app, rabbitmq_office.queue).requeue(sendings) == [None] * 3

    assert rabbitmq_office.take() == [0, 1, 2]


def test_a_broker_that_is_away_is_asked_a_few_times_and_not_for_each() -> None:
    (office,) = _open("memory://")
    sendings = office.sendings(50)
    away = Office(Celery("away", broker="redis://localhost:1/0", set_as_current=False), office.queue)
    away.app.conf.task_queues = office.app.conf.task_queues

    outcomes = away.requeue(sendings)

    assert len(outcomes) == 50
    assert all(outcome is not None and not isinstance(outcome, errors.MessageUnsendable) for outcome in outcomes)
