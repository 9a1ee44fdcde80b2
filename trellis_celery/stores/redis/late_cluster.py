"""A client of a Redis Cluster that asks nobody until it is used.

redis-py's own asks the cluster for its nodes when it is made, so a program could not start while the cluster is away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from redis.cluster import RedisCluster
from redis.connection import parse_url


class LateCluster:
    """Does all that a `RedisCluster` does; the first use of it finds the nodes, and raises if none answers.

    Raises ValueError for a URL that makes no sense.
    """

    def __init__(self, url: str, **options: Any) -> None:
        named = parse_url(url)  # type: ignore[no-untyped-call]
        if named.get("db") or "path" in named:
            raise ValueError("a cluster has a host, a port and database 0 only")
        self._make: Callable[[], RedisCluster] = lambda: RedisCluster.from_url(url, **options)
        self._made: RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of a copy, say, that has nothing yet
            raise AttributeError(name)
        return getattr(self._cluster(), name)

    def _cluster(self) -> Any:
        # Without a lock, which would have many threads wait for an absent cluster one after the other.
        made = self._made
        if made is None:
            made = self._made = self._make()
        return made

    def register_script(self, script: str) -> LateScript:
        """As that of redis-py, which wants to know how the server's connections encode text."""
        return LateScript(self, script)


class LateScript:
    """A script of a client that is not connected yet."""

    def __init__(self, client: LateCluster, script: str) -> None:
        self._client = client
        self._text = script

    def __call__(self, keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> Any:
        return self._script(keys=keys, args=args)

    @cached_property
    def _script(self) -> Any:
        return self._client._cluster().register_script(self._text)
