"""A program that does one operation, and comes to grief at a chosen command that it sends to Redis.

The program is a fork of the test, with connections of its own. A command is one packet that redis-py sends, be it to
the store or to the broker: those that open a connection count, and a pipeline counts once. What the program sends to
the archive, which is no Redis, is not counted.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from enum import Enum, StrEnum, auto
from typing import Any

import redis
from kombu import pools
from kombu.exceptions import OperationalError
from redis.connection import AbstractConnection

from trellis_celery import errors

#: No operation sends more commands than this.
MOST_COMMANDS = 250


class Moment(StrEnum):
    """What becomes of the command, and of the program."""

    BEFORE = "killed by SIGKILL before the command is sent"
    AFTER = "killed by SIGKILL when the reply to the command is there"
    #: redis-py is told of a ConnectionError, as if the connection had broken; all that is behind it is as it is.
    LOST = "the reply is there and is thrown away with its connection, and the program goes on"


class Ending(Enum):
    """How the program ended."""

    #: It has done all of the operation before it came to that command.
    UNHARMED = auto()
    KILLED = auto()
    #: The operation raised that it had no answer: its caller does not know whether it was done.
    UNANSWERED = auto()
    #: A reply was lost, and the operation told its caller that it was done.
    ANSWERED = auto()

    @property
    def is_accepted(self) -> bool:
        """Whether the caller believes that it was done."""
        return self in (Ending.UNHARMED, Ending.ANSWERED)


def come_to_grief(app: Any, operation: Callable[[], object], *, point: int, moment: Moment) -> Ending:
    """Do the operation in a program of its own that comes to grief at this command, from 1 on.

    What the operation raises, other than that it had no answer, is a failure of the test.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(app, operation, point, moment)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return Ending.KILLED
    code = os.WEXITSTATUS(status)
    assert code in _ENDINGS, f"the operation raised, see above (exit code {code})"
    return _ENDINGS[code]


_RAISED = 99
_ENDINGS = {0: Ending.UNHARMED, 10: Ending.UNANSWERED, 11: Ending.ANSWERED}
_CODES = {ending: code for code, ending in _ENDINGS.items()}
_NO_ANSWER = (errors.StoreUnavailable, OperationalError, redis.ConnectionError)


def _child(app: Any, operation: Callable[[], object], point: int, moment: Moment) -> None:
    code = _RAISED
    try:
        app._after_fork()  # the parent's connections are the parent's
        pools.reset()
        trap = _Trap(point, moment)
        trap.set()
        try:
            operation()
            code = _CODES[Ending.ANSWERED if trap.is_reached else Ending.UNHARMED]
        except _NO_ANSWER:
            if not trap.is_reached:
                raise
            code = _CODES[Ending.UNANSWERED]
        app.trellis.kept._flush()  # as every program does when it ends
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        code = _RAISED
    finally:
        sys.__stderr__.flush()  # type: ignore[union-attr]
    os._exit(code)


class _Trap:
    """Counts the commands that this process sends, and springs at one of them."""

    def __init__(self, point: int, moment: Moment) -> None:
        self._left = point
        self._moment = moment

    @property
    def is_reached(self) -> bool:
        return self._left <= 0

    def set(self) -> None:
        send = AbstractConnection.send_packed_command

        def counting(connection: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left != 0:
                return send(connection, command, *args, **kwargs)
            if self._moment is Moment.BEFORE:
                os.kill(os.getpid(), signal.SIGKILL)
            send(connection, command, *args, **kwargs)
            assert connection.can_read(timeout=5), "no reply: nobody knows whether the command was done"
            if self._moment is Moment.AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            connection.disconnect()
            raise redis.ConnectionError("the reply was lost")

        AbstractConnection.send_packed_command = counting  # type: ignore[method-assign]
