"""A script that runs though another server takes the place of the one it was sent to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import ClusterError, NoScriptError

from trellis_celery.stores.redis.translate import REDIS_ERRORS
from trellis_celery.stores.redis.wires import Wires

#: Until servers that each send us to the other have told each other who has the slot.
_PAUSES_S = (0.01, 0.05, 0.2)


class Steady:
    """A registered script, which is sent again when it met a change of servers.

    redis-py loads a script that the server does not know, which a failover in between undoes; and it gives up on one
    that is sent from node to node while its slot moves. Neither has written anything.

    `wires`: what it is sent by; None: the client that it is registered with.
    """

    def __init__(self, script: Any, wires: Wires | None = None) -> None:
        self._script = script
        self._wires = wires

    def __call__(self, *, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        if self._wires is not None:
            try:
                return self._wires.call("EVALSHA", self._script.sha, len(keys), *keys, *args)
            except NoScriptError:
                pass  # what follows loads it
        for pause_s in _PAUSES_S:
            try:
                return self._script(keys=keys, args=args)
            except (NoScriptError, ClusterError):
                time.sleep(pause_s)
        return self._script(keys=keys, args=args)

    def reply(self, *, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """As a call, but an error is returned."""
        try:
            return self(keys=keys, args=args)
        except REDIS_ERRORS as error:
            return error

    def call_each(self, calls: Callable[[], Iterable[Mapping[str, Any]]]) -> list[Any]:
        """The replies to many calls, which are independent of each other; an error in the place of each that is one.

        Each is made while the server works on those before it. They may be made, and sent, more than once.
        """
        if self._wires is None:  # a cluster client takes no scripts in a pipeline
            return [self.reply(**call) for call in calls()]
        replies = self._wires.call_each(lambda: map(self._command, calls()))
        if any(isinstance(reply, NoScriptError) for reply in replies):
            return [self.reply(**call) for call in calls()]
        return replies

    def _command(self, call: Mapping[str, Any]) -> Sequence[Any]:
        return ("EVALSHA", self._script.sha, len(call["keys"]), *call["keys"], *call["args"])
