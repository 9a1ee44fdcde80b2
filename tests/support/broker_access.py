"""What somebody can do who has access to the broker: take messages out, change them, put them in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.support.cluster import Cluster
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Taken:
    """A message as it was in a queue."""

    body: bytes | str
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    content_encoding: str

    @property
    def task_id(self) -> str:
        return str(self.headers["id"])

    def with_headers(self, **changed: Any) -> Taken:
        """Celery's own headers."""
        return replace(self, headers=self.headers | changed)

    def with_trellis(self, **changed: Any) -> Taken:
        """Ours; None takes a field out."""
        wire = self.headers["trellis"] | changed
        return self.with_headers(trellis={name: value for name, value in wire.items() if value is not None})


def take(cluster: Cluster, queue: str) -> Taken:
    """The next message in a queue, which is gone from there."""

    def get() -> Any:
        with cluster.app.connection_for_read() as connection:
            return connection.default_channel.basic_get(queue, no_ack=True)

    found = eventually(get, what=f"a message in {queue}")
    properties = {name: found.properties.get(name) for name in ("correlation_id", "reply_to")}
    return Taken(found.body, found.headers, properties, found.content_type, found.content_encoding)


def put(cluster: Cluster, queue: str, message: Taken) -> None:
    with cluster.app.connection_for_write() as connection, connection.Producer(auto_declare=False) as producer:
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue,
            declare=[cluster.app.amqp.queues[queue]],
            headers=message.headers,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            **message.properties,
        )
