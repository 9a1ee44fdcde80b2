"""From the errors of redis-py to ours, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from trellis_celery import errors

#: What redis-py raises when a call fails; the last stands beside the others.
REDIS_ERRORS = (exceptions.RedisError, exceptions.RedisClusterException)

#: The server is there but cannot serve now: it may be able to in a moment, or after somebody has helped it.
_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.RedisClusterException,  # no node answers, or they do not have all slots
    exceptions.ClusterError,  # nobody would take it: its slot is on the move
    exceptions.NoScriptError,
)
_UNAVAILABLE_CODES = (
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
)

#: The same, and it answers who only reads: it is full, a replica, or cannot write to its disk or to its replicas.
_WRITES_NOTHING = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError)
_WRITES_NOTHING_CODES = ("MISCONF", "NOREPLICAS", "OOM", "READONLY")

_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -(\w+) ")


@contextmanager
def translated(key: str = "") -> Iterator[None]:
    """Raise what redis-py raises inside as a StoreError."""
    try:
        yield
    except REDIS_ERRORS as error:
        raise as_ours(error, key) from error


def as_ours(error: Exception, key: str = "") -> errors.StoreError:
    """The StoreError that tells what this error means. An error of ours stays as it is."""
    if isinstance(error, errors.StoreError):
        return error
    text = str(error)
    if isinstance(error, _WRITES_NOTHING) or _code(text) in _WRITES_NOTHING_CODES:
        return errors.StoreUnavailable(f"the store takes no writes: {text or type(error).__name__}")
    if isinstance(error, _UNAVAILABLE) or _code(text) in _UNAVAILABLE_CODES:
        return errors.StoreUnavailable(f"the store does not answer: {text or type(error).__name__}")
    if "WRONGTYPE" in text or "user_script" in text:
        return errors.CorruptRecord(key=key, problem=text)
    return errors.StoreError(f"the store refused: {text}")


def _code(text: str) -> str:
    """The server's own word for the error; before Redis 7 it stands inside of what it says about the script."""
    inside = _IN_SCRIPT.search(text)
    return inside.group(1) if inside else text.partition(" ")[0]
