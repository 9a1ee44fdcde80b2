"""A program that is killed at a chosen command that it sends to Redis, be it to the store or to the broker."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import redis
from kombu import pools
from kombu.exceptions import OperationalError
from redis.connection import AbstractConnection

from trellis_celery import errors

#: No operation sends more commands than this.
MOST_COMMANDS = 200


class Moment(StrEnum):
    """What becomes of the command, and of the program."""

    BEFORE = "killed before the command"
    AFTER = "killed after the command was done"
    LOST = "the reply is lost, and the program goes on"


def reaches(app: Any, operation: Callable[[], object], *, point: int, moment: Moment) -> bool:
    """Do the operation in a program of its own that comes to grief at this command, from 1 on.

    False if it ended before it came to that command. An operation may tell its caller that it had no answer; whatever
    else it raises is a failure of the test.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(app, operation, point, moment)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    code = os.WEXITSTATUS(status)
    assert code in (_DONE, _DONE_AFTER_POINT), f"the operation raised, see above (exit code {code})"
    return code == _DONE_AFTER_POINT


_DONE, _DONE_AFTER_POINT, _RAISED = 0, 10, 11
_NO_ANSWER = (errors.StoreUnavailable, OperationalError, redis.ConnectionError)


def _child(app: Any, operation: Callable[[], object], point: int, moment: Moment) -> None:
    try:
        app._after_fork()  # the parent's connections are the parent's
        pools.reset()
        trap = _Trap(point, moment)
        trap.set()
        operation()
        code = _DONE_AFTER_POINT if trap.is_reached else _DONE
    except _NO_ANSWER:
        code = _DONE_AFTER_POINT
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
            connection.can_read(timeout=5)  # the server has done it
            if self._moment is Moment.AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            connection.disconnect()
            raise redis.ConnectionError("the reply was lost")

        AbstractConnection.send_packed_command = counting  # type: ignore[method-assign]
