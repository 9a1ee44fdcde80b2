"""Send stored messages again: the same task id, bytes and destination; only the attempt in the header is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.utils import json

from trellis_celery import errors
from trellis_celery.plugin import broker, headers, message
from trellis_celery.plugin.signing import NO_KEY, Signer
from trellis_celery.ports import Sending

#: So many messages in a row without an answer of the broker, and it is taken to be away.
OUTAGES_IN_A_ROW = 3

Publication = Mapping[str, Any]


class _BrokerIsAway(errors.TrellisError):
    """The broker cannot be reached."""


class _BrokerRefuses(errors.TrellisError):
    """The broker answers, and does not take this message now: it is out of memory, say, or has no such exchange."""


def _reason(error: Exception, connection: Any) -> Exception:
    """MessageUnsendable for what will never be sent. With the others, the handoff runs out and it is tried again."""
    if broker.is_answer(error, connection):
        return _BrokerRefuses(str(error))
    if isinstance(error, broker.outages(connection)):
        return _BrokerIsAway(str(error))
    return errors.MessageUnsendable(f"{type(error).__name__}: {error}")


class CeleryRequeuer:
    """A `Requeuer` that publishes to the app's broker, with RabbitMQ's publisher confirms."""

    def __init__(self, app: Celery, *, signer: Signer = NO_KEY) -> None:
        self._app = app
        self._signer = signer

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        outcomes: list[Exception | None] = [None] * len(sendings)
        publications: dict[int, Publication] = {}
        for place, sending in enumerate(sendings):
            try:
                publications[place] = self._publication(sending)
            except errors.MessageUnsendable as error:
                outcomes[place] = error
        for place, outcome in zip(publications, self._send(list(publications.values())), strict=True):
            outcomes[place] = outcome
        return outcomes

    def _send(self, publications: Sequence[Publication]) -> list[Exception | None]:
        """All together, and then each that the broker may not have by itself. One that it has twice runs once."""
        together = self._send_batch(publications)
        outcomes: list[Exception | None] = []
        for publication, outcome in zip(publications, together, strict=True):
            last = outcomes[-OUTAGES_IN_A_ROW:]
            is_away = len(last) == OUTAGES_IN_A_ROW and all(isinstance(one, _BrokerIsAway) for one in last)
            if outcome is None or is_away:  # each of the others would wait for it as long
                outcomes.append(outcome)
            else:
                outcomes += self._send_batch([publication])
        return outcomes

    def _send_batch(self, publications: Sequence[Publication]) -> list[Exception | None]:
        """None for each message that the broker is known to have."""
        batch = broker.Batch(publications)
        reason: Exception | None = None
        with broker.connect(self._app, confirm_publish=False) as connection:
            try:
                batch.send(connection, queues=self._queues(publications))
            except (*broker.outages(connection), *broker.refusals(connection)) as error:
                reason = _reason(error, connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the steps of others
                reason = error
        return [None if place in batch.accepted else reason for place in range(len(publications))]

    def _publication(self, sending: Sending) -> Publication:
        """Raises MessageUnsendable."""
        stored = message.load(sending.message or b"")
        self._queue(stored.exchange, stored.routing_key)
        message_headers = json.loads(stored.headers)
        process = headers.process_of(message_headers)  # it comes from the store
        if process is None:
            raise errors.MessageUnsendable("the stored message has no header of ours")
        process_type, traceparent = process
        header = headers.of_step(
            sending.process_id, process_type, sending.step, task_id=message_headers.get("id"), traceparent=traceparent
        )
        # The record knows better: of a retry that the store was not told of, and that a new attempt begins at none.
        message_headers["retries"] = sending.step.celery_retries
        headers.write(header, message_headers, self._signer)
        return {
            "body": stored.body,
            "exchange": stored.exchange,
            "routing_key": stored.routing_key,
            "content_type": stored.content_type,
            "content_encoding": stored.content_encoding,
            "headers": message_headers,
            **json.loads(stored.properties),
        }

    def _queues(self, publications: Sequence[Publication]) -> list[Any]:
        destinations = {(each["exchange"], each["routing_key"]) for each in publications}
        return [queue for each in sorted(destinations) if (queue := self._queue(*each)) is not None]

    def _queue(self, exchange: str, name: str) -> Any:
        """The queue that a message for the default exchange goes straight into. Other exchanges have theirs bound."""
        try:
            return None if exchange else self._app.amqp.queues[name]
        except KeyError:
            raise errors.MessageUnsendable(f"no such queue: {name!r}") from None
