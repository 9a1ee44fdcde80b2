"""Send stored messages again: the same task id, the same bytes, the same place; only the attempt in the header is new."""

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


class CeleryRequeuer:
    """A `Requeuer` that publishes to the app's broker, with RabbitMQ's publisher confirms."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        with self._app.connection_for_write(transport_options=self._transport_options()) as connection:
            producer = self._app.amqp.Producer(connection, auto_declare=False)
            return [self._send(producer, sending) for sending in sendings]

    def _transport_options(self) -> dict[str, Any]:
        return {**self._app.conf.broker_transport_options, "confirm_publish": True}

    def _send(self, producer: Any, sending: Sending) -> Exception | None:
        try:
            self._publish(producer, sending)
        except errors.MessageUnsendable as error:
            return error
        except (OperationalError, OSError, *producer.connection.recoverable_connection_errors) as error:
            return error  # the broker is away: the handoff runs out and it is tried again
        except (KombuError, QueueNotFound, ValueError, TypeError, LookupError) as error:
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
        return [] if stored.exchange else [self._app.amqp.queues[stored.routing_key]]
