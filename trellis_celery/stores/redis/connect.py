"""From a URL to a Redis client whose every call ends within a given time.

Celery parses the URLs of single servers and of Sentinel, so whatever works as `result_backend` works here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import redis
from celery import Celery
from celery.app.backends import by_url
from redis.backoff import ConstantBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection

from trellis_celery import errors
from trellis_celery.stores.redis.late_cluster import LateCluster

#: Teams may bring their own `RedisCluster`; `connect` makes the other two.
Client = redis.Redis | LateCluster | RedisCluster


def is_cluster(client: Any) -> bool:
    """Whether it is a client of many servers."""
    return isinstance(client, LateCluster | RedisCluster)


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
            return LateCluster(url.replace("+cluster", "", 1), **limits)
        return _by_celery(url, limits, transport_options or {})
    except (ValueError, TypeError, KeyError) as error:
        # What the parsers say may have a part of the password in it.
        problem = f": {error}" if "@" not in url else ": is there a special character in it that is not %-encoded?"
        raise errors.ConfigurationError(f"the URL {errors.without_password(url)} cannot be used{problem}") from None


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
    sentinel_limits = {"sentinel_kwargs": {**limits, **transport_options.get("sentinel_kwargs", {})}}
    app.conf.result_backend_transport_options = {**transport_options, **sentinel_limits}
    backend_class, backend_url = cast("tuple[Any, str]", by_url(url, app.loader))
    backend = backend_class(app=app, url=backend_url)
    # redis-py before 6 tries again only for the errors that it is given by name.
    backend.connparams.update(limits, retry_on_error=[redis.ConnectionError, redis.TimeoutError])
    for host in backend.connparams.get("hosts", ()):
        host.update(limits)
    client: redis.Redis = backend.client
    client.auto_close_connection_pool = True  # nobody else has it
    pool: Any = client.connection_pool
    if issubclass(pool.connection_class, SentinelManagedConnection):
        pool.connection_class = type("SentinelConnection", (_AsksAgain, pool.connection_class), {})
    return client


class _AsksAgain(SentinelManagedConnection):
    """Asks the Sentinel where the master is whenever it connects.

    redis-py does so for the first try of a call alone, and makes the second where the master was: at a replica by now,
    or at nobody. https://github.com/redis/redis-py/issues/3874
    """

    _is_asking = False

    def connect(self) -> None:
        self._is_asking = True
        try:
            super().connect()  # type: ignore[no-untyped-call]
        finally:
            self._is_asking = False

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect to the address that the Sentinel has just told; without one, ask."""
        if self._is_asking:
            super().connect_check_health(*args, **kwargs)
        else:
            self.connect()
