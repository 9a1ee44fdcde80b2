"""What Redis and Valkey tell of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from redis.sentinel import SentinelConnectionPool

from trellis_celery import errors
from trellis_celery.doctor.redis import RedisFacts
from trellis_celery.stores.redis.connect import is_cluster
from trellis_celery.stores.redis.translate import REDIS_ERRORS, translated

#: From INFO: what went wrong when the server wrote to disk last.
_WRITES = {
    "rdb_last_bgsave_status": "the last snapshot failed",
    "aof_last_bgrewrite_status": "the last rewrite of the append-only file failed",
    "aof_last_write_status": "the last write to the append-only file failed",
}


def ping(thing: Any) -> None:
    """One round trip, by what every user of the store may do. Raises StoreUnavailable."""
    with translated():
        thing.client.time()


class Server(Struct, frozen=True):
    """One that takes writes."""

    #: Its place in a cluster; empty if it is the only one.
    address: str
    #: Tells it from every other, and from what it was before it was restarted; empty if it does not say.
    run_id: str
    facts: RedisFacts


def servers(client: Any) -> list[Server]:
    """Those that the client writes to. Raises StoreError if the user may not ask."""
    found = []
    is_watched = is_cluster(client) or isinstance(client.connection_pool, SentinelConnectionPool)
    for address, node in _nodes(client):
        try:
            info = node.info()
        except REDIS_ERRORS as error:
            raise errors.StoreError(f"the server does not answer INFO: {error}") from error
        found.append(Server(address, str(info.get("run_id", "")), _facts(info, node, has_failover=is_watched)))
    return found


def _nodes(client: Any) -> Iterator[tuple[str, Any]]:
    if not is_cluster(client):
        yield "", client
        return
    nodes: Any = client
    nodes.time()  # lets it find out about them
    for node in nodes.get_primaries():
        yield node.name, nodes.get_redis_connection(node)


def _facts(info: Mapping[str, Any], node: Any, *, has_failover: bool) -> RedisFacts:
    product = next((name for name in ("Dragonfly", "Valkey") if f"{name.lower()}_version" in info), "Redis")
    number = info.get(f"{product.lower()}_version", info.get("redis_version", ""))
    return RedisFacts(
        product=product,
        version=version(str(number)),
        max_memory=int(info.get("maxmemory", 0)),
        used_memory=int(info.get("used_memory", 0)),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        has_aof=bool(info.get("aof_enabled", 0)),
        fsync=_config(node, "appendfsync"),
        snapshots=_config(node, "save"),
        failed_writes=tuple(said for name, said in _WRITES.items() if info.get(name, "ok") != "ok"),
        is_replica=info.get("role") == "slave",
        replicas=int(info.get("connected_slaves", 0)),
        # INFO tells of those that are near enough only where some are needed.
        min_replicas=int(_config(node, "min-replicas-to-write") or ("min_slaves_good_slaves" in info)),
        good_replicas=info.get("min_slaves_good_slaves"),
        has_failover=has_failover,
    )


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _config(node: Any, name: str) -> str | None:
    """A setting of the server; None where it may not be asked, as with most services."""
    try:
        value = node.config_get(name).get(name)
    except REDIS_ERRORS:
        return None
    return None if value is None else str(value)
