"""The way to the app's broker for what trellis publishes itself: no call waits for ever, and acceptance is known."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from amqp.exceptions import MessageNacked
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError, OperationalError

_SECONDS = 5.0
_LIMITS = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
}

_ONE_MORE_TRY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}

#: For `Producer.publish`: one more try after a lost connection.
ONCE_MORE = {"retry": True, "retry_policy": _ONE_MORE_TRY}


def connect(app: Celery, *, confirm_publish: bool = True) -> Any:
    """A connection on which every call ends. Nothing is sent yet.

    `confirm_publish`: on RabbitMQ, `Producer.publish` returns when the message is confirmed.
    """
    driver = app.connection_for_write().transport.driver_type
    options = {**_LIMITS.get(driver, {}), **app.conf.broker_transport_options, "confirm_publish": confirm_publish}
    return app.connection_for_write(transport_options=options)


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
        connection.ensure_connection(**_ONE_MORE_TRY)
        channel = connection.channel()
        producer = Producer(channel, auto_declare=False)
        for queue in queues:
            producer.maybe_declare(queue)
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


def outages(connection: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker cannot be reached; worth trying again.

    An AttributeError is what kombu makes of a Redis that was lost while it connected: its channel has no connection.
    """
    return (OperationalError, OSError, AttributeError, *connection.recoverable_connection_errors)


def is_answer(error: Exception, connection: Any) -> bool:
    """Whether the broker itself said no: a queue that is full, say. kombu wraps it in its own error, as an outage."""
    return isinstance(error.__cause__ or error, (MessageNacked, *connection.channel_errors))


def refusals(connection: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker, or the library before it, will not take this message however often it is sent."""
    return (KombuError, ValueError, TypeError, LookupError, struct.error, *connection.channel_errors)
