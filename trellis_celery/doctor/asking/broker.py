"""What the broker tells of itself, and what the app's configuration makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from trellis_celery import errors
from trellis_celery.doctor.asking import redis as asking_redis
from trellis_celery.doctor.asking.redis import Server
from trellis_celery.doctor.broker import BrokerFacts
from trellis_celery.doctor.steps import StepFacts
from trellis_celery.plugin import broker as plugin_broker
from trellis_celery.plugin.extension import Trellis
from trellis_celery.stores.redis.connect import is_cluster
from trellis_celery.stores.redis.translate import REDIS_ERRORS

#: kombu's, for brokers whose channels do not say it.
_SQS_VISIBILITY_S = 1_800


def kind_of(app: Any) -> str:
    """kombu's name of the broker's kind. Nothing is connected."""
    return str(app.connection_for_write().transport.driver_type)


def place_of(app: Any) -> str:
    """The broker's URL as it may be shown."""
    return str(app.connection_for_write().as_uri())


@contextmanager
def connected(app: Any) -> Iterator[Any]:
    """A connection on which nothing waits for long. Raises StoreUnavailable if it cannot be made."""
    with plugin_broker.connect(app) as connection:
        try:
            plugin_broker.reach(connection)
        except Exception as error:
            raise errors.StoreUnavailable(f"the broker does not answer: {error or type(error).__name__}") from error
        yield connection


def ask(trellis: Trellis, steps: tuple[StepFacts, ...], *, store_clients: Iterable[Any] = ()) -> BrokerFacts:
    """`store_clients`: those of stores in Redis. Raises StoreUnavailable if the broker does not answer."""
    app: Any = trellis.app
    options = app.conf.broker_transport_options
    kind = kind_of(app)
    with connected(app) as connection:
        channel: Any = connection.default_channel if kind == "redis" else None
        properties = getattr(connection.connection, "server_properties", None) or {}
        return BrokerFacts(
            place=place_of(app),
            kind=kind,
            product=str(properties.get("product", "")),
            version=asking_redis.version(str(properties.get("version", ""))),
            is_confirmed=bool(options.get("confirm_publish")),
            transient=tuple(_transient(app, steps)),
            consumer_timeouts_ms=dict(_consumer_timeouts_ms(app)),
            visibility_timeout_ms=int(_visibility_s(kind, channel, options) * 1000),
            restore_period_ms=int(_restore_s(channel) * 1000),
            socket_timeout_s=options.get("socket_timeout"),
            has_store=channel is not None and any(_is_same(channel.client, client) for client in store_clients),
            queue_timeout_ms=trellis.settings.queue_timeout_ms,
            steps=steps,
        )


def servers(app: Any) -> list[Server]:
    """Those of a broker in Redis. Raises StoreError."""
    with connected(app) as connection:
        return asking_redis.servers(connection.default_channel.client)


def _transient(app: Any, steps: tuple[StepFacts, ...]) -> Iterator[str]:
    if app.conf.task_default_delivery_mode in (1, "transient"):
        yield "task_default_delivery_mode"
    for name in {task.queue for step in steps for task in step.tasks}:
        queue = app.amqp.queues.get(name)
        if queue is not None and not queue.durable:
            yield f"queue {name}"


def _consumer_timeouts_ms(app: Any) -> Iterator[tuple[str, int]]:
    for name, queue in app.amqp.queues.items():
        timeout_ms = (queue.queue_arguments or {}).get("x-consumer-timeout")
        if isinstance(timeout_ms, int):
            yield name, timeout_ms


def _visibility_s(kind: str, channel: Any, options: Any) -> float:
    default = _SQS_VISIBILITY_S if kind == "sqs" else 3_600
    return float(getattr(channel, "visibility_timeout", None) or options.get("visibility_timeout", default))


def _restore_s(channel: Any) -> float:
    """Until kombu 5.7 nobody could change it."""
    every_s = getattr(channel, "unacked_restore_interval", 10)
    return float((every_s if every_s > 0 else 10) * max(1, getattr(channel, "unacked_restore_throttle", 10)))


def _is_same(one: Any, other: Any) -> bool:
    """Whether two clients of Redis have one database of one server; no if a server does not say which it is."""
    try:
        places = [_run_id_and_number(client) for client in (one, other)]
    except REDIS_ERRORS:
        return False
    return bool(places[0][0]) and places[0] == places[1]


def _run_id_and_number(client: Any) -> tuple[str, int]:
    if is_cluster(client):  # kombu knows no clusters, so this is none of its servers
        return "", 0
    number = client.connection_pool.connection_kwargs.get("db") or 0
    return str(client.info("server").get("run_id", "")), int(number)
