"""Send stored messages again: the same task id, bytes and destination; only the attempt in the header is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.exceptions import QueueNotFound
from kombu.utils import json

from trellis_celery import errors
from trellis_celery.plugin import broker, headers, message
from trellis_celery.plugin.signing import NO_KEY, Signer
from trellis_celery.ports import Sending

#: So many messages in a row without an answer of the broker, and it is taken to be away.
OUTAGES_IN_A_ROW = 3


class _BrokerIsAway(errors.TrellisError):
    """The broker cannot be reached."""


class _BrokerRefuses(errors.TrellisError):
    """The broker answers, and does not take this message now: it is out of memory, say, or a replica for the moment."""


class CeleryRequeuer:
    """A `Requeuer` that publishes to the app's broker, with RabbitMQ's publisher confirms."""

    def __init__(self, app: Celery, *, signer: Signer = NO_KEY) -> None:
        self._app = app
        self._signer = signer

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        with broker.connect(self._app) as connection:
            producer = self._app.amqp.Producer(connection, auto_declare=False)
            outcomes: list[Exception | None] = []
            for sending in sendings:
                outcomes.append(self._send(producer, sending))
                last = outcomes[-OUTAGES_IN_A_ROW:]
                if len(last) == OUTAGES_IN_A_ROW and all(isinstance(one, _BrokerIsAway) for one in last):
                    break  # the others would each wait for it as long
            return outcomes + outcomes[-1:] * (len(sendings) - len(outcomes))

    def _send(self, producer: Any, sending: Sending) -> Exception | None:
        try:
            self._publish(producer, sending)
        except errors.MessageUnsendable as error:
            return error
        except QueueNotFound as error:  # before the outages: Redis counts any KeyError among them
            return errors.MessageUnsendable(f"no such queue: {error}")
        except broker.outages(producer.connection) as error:
            kind = _BrokerRefuses if broker.is_answer(error, producer.connection) else _BrokerIsAway
            return kind(str(error))  # the handoff runs out and it is tried again
        except broker.refusals(producer.connection) as error:
            producer.revive(producer.connection.channel())  # a refusal may have closed the channel
            return errors.MessageUnsendable(f"{type(error).__name__}: {error}")
        return None

    def _publish(self, producer: Any, sending: Sending) -> None:
        stored = message.load(sending.message or b"")
        message_headers = json.loads(stored.headers)
        before = headers.read(message_headers)  # it comes from the store
        if before is None:
            raise errors.MessageUnsendable("the stored message has no header of ours")
        header = headers.of_step(
            sending.process_id,
            before.process_type,
            sending.step,
            task_id=message_headers.get("id"),
            traceparent=before.traceparent,
        )
        # Where the store was not told of a retry by Celery, the stored message is one from before it, and stale.
        message_headers["retries"] = max(message_headers.get("retries") or 0, sending.step.celery_retries)
        headers.write(header, message_headers, self._signer)
        producer.publish(
            stored.body,
            exchange=stored.exchange,
            routing_key=stored.routing_key,
            content_type=stored.content_type,
            content_encoding=stored.content_encoding,
            headers=message_headers,
            declare=self._declarations(stored),
            **broker.ONCE_MORE,
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
