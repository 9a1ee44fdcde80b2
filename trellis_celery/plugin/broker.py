"""The way to the app's broker for what trellis publishes itself: no call waits for ever, and acceptance is known."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked
from celery import Celery
from kombu.exceptions import KombuError, OperationalError

_SECONDS = 5.0
_LIMITS = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
}

#: For `Producer.publish`: one more try after a lost connection.
ONCE_MORE = {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}}


def connect(app: Celery) -> Any:
    """A connection with RabbitMQ's publisher confirms, on which every call ends. Nothing is sent yet."""
    driver = app.connection_for_write().transport.driver_type
    options = {**_LIMITS.get(driver, {}), **app.conf.broker_transport_options, "confirm_publish": True}
    return app.connection_for_write(transport_options=options)


def outages(connection: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker cannot be reached; worth trying again.

    An AttributeError is what kombu makes of a Redis that was lost while it connected: its channel has no connection.
    """
    return (OperationalError, OSError, AttributeError, *connection.recoverable_connection_errors)


def is_answer(error: Exception, connection: Any) -> bool:
    """Whether the broker itself said no: a queue that is full, say. kombu wraps it in its own error, as an outage."""
    return isinstance(error.__cause__ or error, (MessageNacked, *connection.channel_errors))


def refusals(connection: Any) -> tuple[type[Exception], ...]:
    """What is raised when the broker, or kombu before it, will not take this message however often it is sent."""
    return (KombuError, ValueError, TypeError, LookupError, *connection.channel_errors)
