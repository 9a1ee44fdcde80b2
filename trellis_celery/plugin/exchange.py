"""Events for other services: a durable topic exchange at the broker, with the routing key ``tenant.type.event``.

Each word of the key is percent-encoded where it has a character that means something in a binding (``.``, ``*``, ``#``,
``%``) or is not ASCII, so no tenant hears another's events by its name. A word that makes the key too long for AMQP is
replaced by ``%`` and a digest of it; the message itself always has the names as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from celery import Celery
from kombu import Exchange
from msgspec import Struct
from msgspec.structs import asdict

from trellis_celery.domain.events import Event
from trellis_celery.logs import EventLogger
from trellis_celery.plugin import broker
from trellis_celery.ports import Unrelayed
from trellis_celery.stores.digests import digest

logger = EventLogger(__name__)

PROTOCOL = 1
#: AMQP's limit for a routing key is 255 bytes; the longest kind of event has 24.
_LONGEST_WORD = 110


class EventMessage(Struct, frozen=True, kw_only=True):
    """The body of a message, as JSON. Fields are only ever added."""

    v: int
    #: The place of the event in its process's log: 1, 2, … Whoever has heard it, or a later one, may pass it over.
    number: int
    event: str
    process_id: str
    tenant_id: str
    process_type: str
    aggregate_type: str
    aggregate_id: str
    #: Empty for an event of the process itself.
    step: str
    attempt: int
    #: Epoch ms by the store's clock.
    occurred_at_ms: int
    detail: str
    by: str


def routing_key(tenant_id: str, process_type: str, event: str) -> str:
    """The key of an event; with ``*`` and ``#`` in place of words it is what a queue is bound with."""
    return ".".join((_word(tenant_id), _word(process_type), event))


def topic(name: str) -> Exchange:
    """The exchange of this name, as it is declared by both sides."""
    return Exchange(name, type="topic", durable=True)


class ExchangeAnnouncer:
    """Publishes to the exchange with this name, and waits for RabbitMQ's confirms."""

    def __init__(self, app: Celery, exchange: str) -> None:
        self._app = app
        self._exchange = topic(exchange)

    def announce(self, unrelayed: Sequence[Unrelayed]) -> list[int]:
        accepted = [0] * len(unrelayed)
        with broker.connect(self._app) as connection:
            try:
                for place, one in enumerate(unrelayed):
                    accepted[place] = self._announce_one(connection, one)
            except broker.outages(connection) as error:  # the rest is tried again in a while
                self._log_failure(error)
        return accepted

    def _announce_one(self, connection: Any, unrelayed: Unrelayed) -> int:
        """How many of the events were accepted; what the broker refuses holds up no other process. Raises outages."""
        producer = self._app.amqp.Producer(connection, auto_declare=False)
        accepted = 0
        try:
            for number, event in enumerate(unrelayed.events, start=unrelayed.first_number):
                self._publish(producer, unrelayed, number, event)
                accepted += 1
        except (*broker.outages(connection), *broker.refusals(connection)) as error:
            if accepted == 0 and not _is_refusal(error, connection):
                raise
            self._log_failure(error)
        return accepted

    def _log_failure(self, error: Exception) -> None:
        logger.error("event_not_relayed", extra={"exchange": self._exchange.name, "error": str(error)})

    def _publish(self, producer: Any, unrelayed: Unrelayed, number: int, event: Event) -> None:
        producer.publish(
            asdict(_message(unrelayed, number, event)),
            exchange=self._exchange,
            routing_key=routing_key(unrelayed.key.tenant_id, unrelayed.key.process_type, event.kind),
            declare=[self._exchange],
            serializer="json",
            delivery_mode="persistent",
            message_id=f"{unrelayed.process_id}/{number}",
            type=event.kind.value,
            timestamp=event.occurred_at_ms // 1000,
            app_id="trellis",
            **broker.once_more(producer.connection),
        )


def _is_refusal(error: Exception, connection: Any) -> bool:
    """Whether the broker is there and does not take this message: a queue that is bound is full, say."""
    return broker.is_answer(error, connection) or not isinstance(error, broker.outages(connection))


def _message(unrelayed: Unrelayed, number: int, event: Event) -> EventMessage:
    key = unrelayed.key
    return EventMessage(
        v=PROTOCOL,
        number=number,
        event=event.kind.value,
        process_id=unrelayed.process_id,
        tenant_id=key.tenant_id,
        process_type=key.process_type,
        aggregate_type=key.aggregate_type,
        aggregate_id=key.aggregate_id,
        step=event.step_name,
        attempt=event.attempt,
        occurred_at_ms=event.occurred_at_ms,
        detail=event.detail,
        by=event.by,
    )


def _word(name: str) -> str:
    encoded = quote(name, safe="").replace(".", "%2E")
    return encoded if len(encoded) <= _LONGEST_WORD else f"%{digest(name).hex()}"
