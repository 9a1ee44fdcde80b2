from __future__ import annotations

import pytest
from redis import exceptions

from trellis_celery import errors
from trellis_celery.stores.redis.translate import as_ours, translated

#: As Redis 6.2 tells of an error within a script.
IN_A_SCRIPT = "Error running script (call to f_34bb): @user_script:83: @user_script: 83: -{} command not allowed now."

AWAY = [
    exceptions.ResponseError(IN_A_SCRIPT.format("OOM")),
    exceptions.ResponseError(IN_A_SCRIPT.format("READONLY")),
    exceptions.ConnectionError("refused"),
    exceptions.TimeoutError("no reply"),
    exceptions.BusyLoadingError("loading"),
    exceptions.ReadOnlyError("a replica"),
    exceptions.MasterDownError("no master"),
    exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
    exceptions.ClusterError("TTL exhausted."),
    exceptions.OutOfMemoryError("OOM command not allowed"),
    exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
    exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    exceptions.ResponseError("BUSY Redis is busy running a script."),
    exceptions.ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"),
]
DAMAGED = [
    exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    exceptions.ResponseError("user_script:22: attempt to compare nil with number script: abc, on @user_script:22."),
]


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_a_server_that_cannot_serve_now_is_unavailable(error: Exception) -> None:
    assert isinstance(as_ours(error), errors.StoreUnavailable)


@pytest.mark.parametrize("error", DAMAGED, ids=str)
def test_what_is_not_ours_is_a_corrupt_record_with_its_key(error: Exception) -> None:
    ours = as_ours(error, "key")

    assert isinstance(ours, errors.CorruptRecord)
    assert ours.key == "key"


@pytest.mark.parametrize(
    "error", [exceptions.ResponseError("NOPERM no permission"), exceptions.AuthenticationError("wrong password")]
)
def test_every_other_error_is_a_store_error(error: Exception) -> None:
    ours = as_ours(error)

    assert isinstance(ours, errors.StoreError)
    assert str(error) in str(ours)


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = errors.CorruptRecord(key="key", problem="it is damaged")

    assert as_ours(error) is error


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert "TimeoutError" in str(as_ours(exceptions.TimeoutError()))


def test_inside_of_translated_no_error_of_redis_gets_out() -> None:
    with pytest.raises(errors.StoreUnavailable) as raised, translated("key"):
        raise exceptions.ConnectionError("refused")

    assert isinstance(raised.value.__cause__, exceptions.ConnectionError)


def test_inside_of_translated_all_other_errors_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


@pytest.mark.parametrize("code", ["OOM", "READONLY", "MISCONF", "NOREPLICAS"])
def test_a_server_that_is_there_and_takes_no_writes_is_not_said_to_be_away(code: str) -> None:
    for text in (f"{code} cannot", IN_A_SCRIPT.format(code)):
        assert str(as_ours(exceptions.ResponseError(text))).startswith("the store takes no writes: ")
