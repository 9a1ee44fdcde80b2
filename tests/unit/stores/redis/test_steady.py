from __future__ import annotations

import pytest
from redis.exceptions import ClusterError, NoScriptError, RedisError

from trellis_celery.stores.redis.steady import Steady


class Script:
    """It meets these errors first, one a call."""

    def __init__(self, *met: RedisError) -> None:
        self.left = list(met)

    def __call__(self, **call: object) -> object:
        if self.left:
            raise self.left.pop(0)
        return call


@pytest.mark.fault("B8")
@pytest.mark.parametrize("error", [NoScriptError("NOSCRIPT"), ClusterError("TTL exhausted.")], ids=["script", "slot"])
def test_a_script_that_met_a_change_of_servers_is_sent_again(error: RedisError) -> None:
    assert Steady(Script(error, error))(keys=["a"], args=["b"]) == {"keys": ["a"], "args": ["b"]}


def test_it_is_not_sent_for_ever() -> None:
    with pytest.raises(ClusterError):
        Steady(Script(*[ClusterError("TTL exhausted.")] * 10))(keys=[], args=[])


def test_any_other_error_is_told_at_once() -> None:
    script = Script(RedisError("no"), RedisError("never met"))

    with pytest.raises(RedisError, match="no"):
        Steady(script)(keys=[], args=[])

    assert len(script.left) == 1
