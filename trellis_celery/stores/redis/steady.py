"""A script that runs though another server takes the place of the one it was loaded at."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoScriptError


class Steady:
    """A registered script. redis-py loads it when it is not known to the server: a failover in between undoes that."""

    def __init__(self, script: Any) -> None:
        self._script = script

    def __call__(self, **call: Any) -> Any:
        try:
            return self._script(**call)
        except NoScriptError:
            return self._script(**call)
