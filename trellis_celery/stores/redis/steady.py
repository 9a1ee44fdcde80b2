"""A script that runs though another server takes the place of the one it was sent to."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import ClusterError, NoScriptError

#: Until servers that each send us to the other have told each other who has the slot.
_PAUSES_S = (0.01, 0.05, 0.2)


class Steady:
    """A registered script, which is sent again when it met a change of servers.

    redis-py loads a script that the server does not know, which a failover in between undoes; and it gives up on one
    that is sent from node to node while its slot moves. Neither has written anything.
    """

    def __init__(self, script: Any) -> None:
        self._script = script

    def __call__(self, **call: Any) -> Any:
        for pause_s in _PAUSES_S:
            try:
                return self._script(**call)
            except (NoScriptError, ClusterError):
                time.sleep(pause_s)
        return self._script(**call)
