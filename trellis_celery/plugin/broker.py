"""The way to the app's broker for what trellis publishes itself: no call waits for ever, and acceptance is known."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from amqp.exceptions import MessageNacked, PreconditionFailed
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError, OperationalError

_SECONDS = 5.0
_LIMITS = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
}


def connect(app: Celery, *, confirm_publish: bool = True) -> Any:
    """A connection on which every call ends. Nothing is sent yet.

    `confirm_publish`: on RabbitMQ, `Producer.publish` returns when the message is confirmed.
    """
    driver = app.connection_for_write().transport.driver_type
    options = {**_LIMITS.get(driver, {}), **app.conf.broker_transport_options, "confirm_publish": confirm_publish}
    return app.connection_for_write(transport_options=options)


def reach(connection: Any) -> None:
    """Connect, to whichever host of a failover list answers first. Raises what `outages` says."""
    connection.ensure_connection(**_tries(connection))


def open_connection(app: Celery) -> Any:
    """Like `connect`, and connected. Raises what `outages` says."""
    connection = connect(app)
    try:
        reach(connection)
    except BaseException:
        connection.release()
        raise
    return connection


def once_more(connection: Any) -> dict[str, Any]:
    """For `Producer.publish`: one more try after a lost connection, on each host of a failover list."""
    return {"retry": True, "retry_policy": _tries(connection)}


def _tries(connection: Any) -> dict[str, Any]:
    return {"max_retries": max(1, len(connection.alt) - 1), "interval_start": 0, "interval_max": 0.2}


class Batch:
    """Messages that go to the broker together: nobody waits for one before the next is sent.

    On Redis they are written in one pipeline (since kombu 5.7), on RabbitMQ confirmed together. Everywhere else, one is
    sent after the other. `publications`: the arguments of `Producer.publish` for each.
    """

    def __init__(self, publications: Sequence[Mapping[str, Any]]) -> None:
        self._publications = publications
        #: The places of those that the broker is known to have.
        self.accepted: set[int] = set()

    def send(self, connection: Any, *, queues: Sequence[Any]) -> None:
        """Send them all over a connection that does not confirm them itself, once `queues` are declared.

        Raises what stopped it; the broker may have more of them by then than are known to be accepted.
        """
        reach(connection)
        for queue in queues:
            _declare(connection, queue)
        channel = connection.channel()
        producer = Producer(channel, auto_declare=False)
        if hasattr(channel, "confirm_select"):
            self._send_confirmed(channel, producer)
        else:
            self._send_piped(producer)

    def _send_confirmed(self, channel: Any, producer: Any) -> None:
        """RabbitMQ counts what is published on a channel, from 1 on, and answers in any order."""
        answered = set[int]()

        def numbers(number: int, multiple: bool) -> set[int]:
            return set(range(1, number + 1)) - answered if multiple else {number}

        def accept(number: int, multiple: bool) -> None:
            self.accepted.update(each - 1 for each in numbers(number, multiple))
            answered.update(numbers(number, multiple))

        def refuse(number: int, multiple: bool) -> None:
            answered.update(numbers(number, multiple))

        channel.confirm_select()
        channel.events["basic_ack"].add(accept)
        channel.events["basic_nack"].add(refuse)
        for publication in self._publications:
            producer.publish(**publication)
        while len(answered) < len(self._publications):
            channel.connection.drain_events(timeout=_SECONDS)
        if len(self.accepted) < len(self._publications):
            raise MessageNacked

    def _send_piped(self, producer: Any) -> None:
        try:
            with producer.batch() if hasattr(producer, "batch") else nullcontext():
                for publication in self._publications:
                    producer.publish(**publication)
        except KombuError as error:  # of a pipeline, kombu says only that it failed
            raise error.__cause__ or error from None
        self.accepted.update(range(len(self._publications)))


def _declare(connection: Any, queue: Any) -> None:
    """See that the queue is there. One that has other arguments than this program would give it is there, too."""
    try:
        with connection.channel() as channel:
            queue.bind(channel).declare()
    except PreconditionFailed:
        with connection.channel() as channel:
            queue.bind(channel).queue_declare(passive=True)


def outages(connection: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker cannot be reached; worth trying again.

    An AttributeError is what kombu makes of a Redis that was lost while it connected: its channel has no connection.
    """
    return (OperationalError, OSError, AttributeError, *connection.recoverable_connection_errors)


def is_answer(error: Exception, connection: Any) -> bool:
    """Whether the broker itself said no: a queue is full, an exchange is gone, a right is missing. It may be mended.

    kombu wraps it in an error of its own, as an outage.
    """
    return isinstance(error.__cause__ or error, (MessageNacked, *connection.channel_errors))


def refusals(connection: Any) -> tuple[type[Exception], ...]:
    """What else is raised when a message is not taken: by the broker, see `is_answer`, or by the library before it."""
    return (KombuError, ValueError, TypeError, LookupError, struct.error, *connection.channel_errors)
