"""A child that is forked while a thread is inside kombu gets locks of its own.

kombu has one lock for each cached property of a class, and holds it while the value is made. Celery forks the children
of a pool from a thread that has let go of them all; with us a worker's main process has more threads, which make
connections whenever there is something to send. A child has none of those threads: without this it would wait for ever,
at its first message, for a lock that nobody is left to give back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from threading import RLock
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.app.events import Events
from kombu import Connection
from kombu.transport.base import StdChannel, Transport
from kombu.utils.objects import cached_property

#: With their subclasses: whose cached properties a thread that sends something uses.
_OWNERS = (Celery, AMQP, Events, Connection, StdChannel, Transport)


@cache
def watch() -> None:
    """From now on, in all children of this process."""
    os.register_at_fork(after_in_child=_renew_locks)


def _renew_locks() -> None:
    for owner in _OWNERS:
        for each in _cached_properties(owner):
            each.lock = RLock()


def _cached_properties(owner: type[Any]) -> Iterator[Any]:
    yield from (each for each in vars(owner).values() if isinstance(each, cached_property))
    for subclass in owner.__subclasses__():
        yield from _cached_properties(subclass)
