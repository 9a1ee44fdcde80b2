"""Connections for what is called several times in every task: the scripts."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from trellis_celery.stores.redis.connect import Client, is_cluster

#: A command as it is sent. The client's own way to it takes nearly three times as long.
_packed: Callable[[Sequence[Any]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # typed for one argument

#: Of many commands.
SENT_AT_ONCE = 50
#: A connection that has been idle for longer is looked at before it is used, seconds.
QUIET_S = 1.0


class Wires:
    """Connections like those of a client's pool. A call by one takes half the time that it takes by the client.

    The client does much around a call that is of no use here. What it does for safety is done here, too: while a call
    lasts nobody else has its connection; a reply that nobody waited for is never taken for another's; after a lost
    connection there is a second try, as the client's `retry` says; a forked child makes its own.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        #: Connections on which nothing is outstanding, each with the time of `monotonic` since when.
        self._idle: deque[tuple[Any, float]] = deque()
        self._pid = os.getpid()
        weakref.finalize(self, _close, self._idle)

    @classmethod
    def like_those_of(cls, client: Client) -> Wires | None:
        """None for a cluster, whose client knows which node to ask."""
        return None if is_cluster(client) else cls(client)

    def call(self, *command: Any) -> Any:
        """The reply. Raises what the client would."""
        return self._try(partial(_call, command))

    def call_each(self, make: Callable[[], Iterable[Sequence[Any]]]) -> list[Any]:
        """The replies in order, an error in the place of each that is one.

        The first commands are sent, and the server works on them, while the next are being made. If the connection is
        lost, all are made once more.
        """
        replies: list[Any] = self._try(partial(_call_each, make))
        return replies

    def _try(self, talk: Callable[[Any], Any]) -> Any:
        if self._pid != os.getpid():
            self._idle.clear()
            self._pid = os.getpid()
        connection = self._take()
        try:
            reply = connection.retry.call_with_retry(
                partial(_wholly, connection, talk), lambda _: connection.disconnect()
            )
        except ResponseError:
            self._idle.append((connection, monotonic()))
            raise
        self._idle.append((connection, monotonic()))
        return reply

    def _take(self) -> Any:
        try:
            connection, since_s = self._idle.pop()
        except IndexError:
            connection, since_s = self._pool.connection_class(**self._pool.connection_kwargs), float("-inf")
        if monotonic() - since_s > QUIET_S:
            _wholly(connection, _make_ready)
        return connection


def _close(idle: Iterable[tuple[Any, float]]) -> None:
    for connection, _ in idle:
        connection.disconnect()


def _wholly(connection: Any, act: Callable[[Any], Any]) -> Any:
    """Do it to the end, or leave no connection on which the next caller might get a reply of this one's."""
    try:
        return act(connection)
    except ResponseError:  # it is the whole reply
        raise
    except BaseException:  # a time limit, say, which may be anywhere in between
        connection.disconnect()
        raise


def _make_ready(connection: Any) -> None:
    connection.connect()
    if _has_been_left(connection):
        connection.disconnect()


def _call(command: Sequence[Any], connection: Any) -> Any:
    connection.send_packed_command([_packed(command)])
    return connection.read_response()


def _call_each(make: Callable[[], Iterable[Sequence[Any]]], connection: Any) -> list[Any]:
    commands, count = iter(make()), 0
    while some := list(islice(commands, SENT_AT_ONCE)):
        connection.send_packed_command([b"".join(map(_packed, some))])
        count += len(some)
    return [_reply(connection) for _ in range(count)]


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _has_been_left(connection: Any) -> bool:
    """Whether the server has closed the connection, or there is a reply on it that nobody waited for."""
    try:
        return bool(connection.can_read())
    except (ConnectionError, TimeoutError, OSError):
        return True
