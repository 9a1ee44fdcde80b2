"""From a URL to a Redis client whose every call ends within a given time.

Celery parses the URLs of single servers and of Sentinel, so whatever works as `result_backend` works here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import redis
from celery import Celery
from celery.app.backends import by_url
from kombu.utils.url import maybe_sanitize_url
from redis.backoff import ConstantBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from trellis_celery import errors

SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "redis+cluster", "rediss+cluster")

Client = redis.Redis | RedisCluster


def connect(url: str, *, timeout_ms: int, transport_options: Mapping[str, Any] | None = None) -> Client:
    """A client for the URL. Nothing is sent yet.

    timeout_ms
        The most a call may take, a second try after a lost connection included.
    transport_options
        What Celery knows as `result_backend_transport_options`: for Sentinel ``{"master_name": …}``.

    Raises ConfigurationError for a URL that makes no sense.
    """
    limits = _limits(timeout_ms)
    scheme = url.partition("://")[0]
    try:
        if scheme.endswith("+cluster"):
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **limits)
        return _by_celery(url, limits, transport_options or {})
    except (ValueError, TypeError, KeyError) as error:
        raise errors.ConfigurationError(f"trellis_url {maybe_sanitize_url(url)} cannot be used: {error}") from error


def _limits(timeout_ms: int) -> dict[str, Any]:
    # Two tries, each with half of the time; every script recognises its own repetition.
    seconds = timeout_ms / 1000 / 2
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(ConstantBackoff(0.01), 1),
    }


def _by_celery(url: str, limits: Mapping[str, Any], transport_options: Mapping[str, Any]) -> redis.Redis:
    app = Celery("trellis-store", set_as_current=False)
    app.conf.result_backend_transport_options = dict(transport_options)
    backend_class, backend_url = cast("tuple[Any, str]", by_url(url, app.loader))
    backend = backend_class(app=app, url=backend_url)
    backend.connparams.update(limits, retry_on_timeout=True)
    for host in backend.connparams.get("hosts", ()):
        host.update(limits)
    client: redis.Redis = backend.client
    return client
