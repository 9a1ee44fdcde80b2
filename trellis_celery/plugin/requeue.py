"""Send stored messages again: the same task id, bytes and destination; only the attempt in the header is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.exceptions import QueueNotFound
from kombu.exceptions import KombuError, OperationalError
from kombu.utils import json

from trellis_celery import errors
from trellis_celery.plugin import headers, message
from trellis_celery.ports import Sending

#: So many messages in a row without an answer of the broker, and it is taken to be away.
OUTAGES_IN_A_ROW = 3

_SECONDS = 5.0
_LIMITS = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
}


class _BrokerIsAway(errors.TrellisError):
    """The broker cannot be reached."""


class _BrokerRefuses(errors.TrellisError):
    """The broker answers, and does not take this message now: it is out of memory, say, or a replica for the moment."""


class CeleryRequeuer:
    """A `Requeuer` that publishes to the app's broker, with RabbitMQ's publisher confirms."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        with self._connection() as connection:
            producer = self._app.amqp.Producer(connection, auto_declare=False)
            outcomes: list[Exception | None] = []
            for sending in sendings:
                outcomes.append(self._send(producer, sending))
                last = outcomes[-OUTAGES_IN_A_ROW:]
                if len(last) == OUTAGES_IN_A_ROW and all(isinstance(one, _BrokerIsAway) for one in last):
                    break  # the others would each wait for it as long
            return outcomes + outcomes[-1:] * (len(sendings) - len(outcomes))

    def _connection(self) -> Any:
        """A connection on which nothing waits for ever: a broker that does not answer is tried again later."""
        driver = self._app.connection_for_write().transport.driver_type
        options = {**_LIMITS.get(driver, {}), **self._app.conf.broker_transport_options, "confirm_publish": True}
        return self._app.connection_for_write(transport_options=options)

    def _send(self, producer: Any, sending: Sending) -> Exception | None:
        try:
            self._publish(producer, sending)
        except errors.MessageUnsendable as error:
            return error
        except QueueNotFound as error:  # before the outages: Redis counts any KeyError among them
            return errors.MessageUnsendable(f"no such queue: {error}")
        except _outages(producer) as error:
            kind = _BrokerRefuses if _is_answer(error, producer) else _BrokerIsAway
            return kind(str(error))  # the handoff runs out and it is tried again
        except _refusals(producer) as error:
            producer.revive(producer.connection.channel())  # a refusal may have closed the channel
            return errors.MessageUnsendable(f"{type(error).__name__}: {error}")
        return None

    def _publish(self, producer: Any, sending: Sending) -> None:
        stored = message.load(sending.message or b"")
        message_headers = json.loads(stored.headers)
        before = headers.read(message_headers)
        if before is None:
            raise errors.MessageUnsendable("the stored message has no header of ours")
        header = headers.of_step(
            sending.process_id, before.process_type, sending.step, task_id=message_headers.get("id")
        )
        headers.write(header, message_headers)
        producer.publish(
            stored.body,
            exchange=stored.exchange,
            routing_key=stored.routing_key,
            content_type=stored.content_type,
            content_encoding=stored.content_encoding,
            headers=message_headers,
            declare=self._declarations(stored),
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
            **json.loads(stored.properties),
        )

    def _declarations(self, stored: message.Message) -> list[Any]:
        """The queue that a message for the default exchange goes straight into. Other exchanges have theirs bound."""
        if stored.exchange:
            return []
        try:
            return [self._app.amqp.queues[stored.routing_key]]
        except KeyError:
            raise QueueNotFound(stored.routing_key) from None


def _outages(producer: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker cannot be reached; worth trying again."""
    return (OperationalError, OSError, *producer.connection.recoverable_connection_errors)


def _is_answer(error: Exception, producer: Any) -> bool:
    """Whether the broker itself said no. kombu wraps it in its own error, and calls one of Redis an outage."""
    return isinstance(error.__cause__ or error, producer.connection.channel_errors)


def _refusals(producer: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker, or kombu before it, will not take this message however often it is sent."""
    return (KombuError, ValueError, TypeError, LookupError, *producer.connection.channel_errors)
