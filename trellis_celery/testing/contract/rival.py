"""Other OS processes over the same store: rivals that act at the same moment, and victims that are killed.

They are forked from a server that has imported the package, so that one more costs milliseconds. Whatever a process
is asked to do is a function of a module, with arguments that can be pickled. Every wait has an end: a process that does
not answer is killed, and the test fails.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, NoReturn

from trellis_celery.ports import ProcessStore

#: Opens the store of a test in another OS process: a function of a module, or a `functools.partial` of one.
Opener = Callable[[], ProcessStore]

#: The longest that one task of another process may take, seconds.
PATIENCE_S = 120
#: The longest that a process may take to be gone after it was killed, seconds.
DEATH_S = 10
#: Told after the last word of a process that was killed.
_DEAD = "dead"

_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


class Rivals:
    """Some OS processes that do the same thing at the same moment. They are started when they are first needed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._barrier = _PROCESSES.Barrier(count)
        self._started: list[tuple[Any, Connection]] = []

    def all_do(self, open_store: Opener, act: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What `act(store, *arguments)` returns in each process, in order. Each opens the store for itself."""
        if not self._started:
            self._started = [_started(_rival, self._barrier) for _ in range(self.count)]
        for (_, connection), own in zip(self._started, arguments, strict=True):
            connection.send((open_store, act, own))
        return [_answer(connection) for _, connection in self._started]

    def close(self) -> None:
        for process, connection in self._started:
            _end(process, connection)
        self._started = []


class Victims:
    """OS processes, one after the other, that tell what they are about to do until they are killed.

    They are forked from one that has imported whatever opening the store takes.
    """

    def __init__(self) -> None:
        self._nest, self._connection = _started(_nest)
        self._victim = 0

    def start(self, act: Callable[..., None], *arguments: Any) -> None:
        """The next process calls `act(*arguments, tell)`; `tell` passes on what it is given."""
        self._connection.send((act, arguments))
        self._victim = self.next_told()

    def next_told(self) -> Any:
        return _answer(self._connection)

    def told_within(self, seconds: float) -> bool:
        """Whether the process tells something more within this time."""
        return self._connection.poll(seconds)

    def kill(self) -> list[Any]:
        """Kill it at once: it cannot put anything in order. Returns what it had told that nobody has heard yet."""
        os.kill(self._victim, signal.SIGKILL)
        return list(iter(self.next_told, _DEAD))

    def close(self) -> None:
        _end(self._nest, self._connection)


def _started(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _end(process: Any, connection: Connection) -> None:
    connection.close()
    process.kill()
    process.join(DEATH_S)
    assert not process.is_alive(), "another OS process could not be killed"
    process.close()


def _answer(connection: Connection) -> Any:
    assert connection.poll(PATIENCE_S), f"another OS process has said nothing for {PATIENCE_S} seconds"
    is_error, value = connection.recv()
    assert not is_error, f"in another OS process:\n{value}"
    return value


# In the other processes


def _rival(connection: Connection, barrier: Barrier) -> None:
    known = b""
    store: Any = None
    with suppress(EOFError):  # the test is over
        while True:
            opener, act, arguments = connection.recv()
            try:
                if pickle.dumps(opener) != known:
                    known, store = pickle.dumps(opener), opener()
                barrier.wait(PATIENCE_S)
                answer = False, act(store, *arguments)
            except Exception:  # noqa: BLE001 — the test is told, and fails
                answer = True, traceback.format_exc()
            connection.send(answer)


def _nest(connection: Connection) -> None:
    with suppress(EOFError):  # the test is over
        while True:
            act, arguments = connection.recv()
            victim = os.fork()
            if victim == 0:
                _be_victim(connection, act, arguments)
            os.waitpid(victim, 0)
            connection.send((False, _DEAD))


def _be_victim(connection: Connection, act: Callable[..., None], arguments: tuple[Any, ...]) -> NoReturn:
    try:
        connection.send((False, os.getpid()))
        act(*arguments, lambda value: connection.send((False, value)))
    except Exception:  # noqa: BLE001 — the test is told, and fails
        connection.send((True, traceback.format_exc()))
    finally:
        os._exit(1)
