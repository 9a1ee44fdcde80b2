"""The connections that scripts are sent by: whatever happens to one, no caller gets another's reply."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.wires import Wires


@pytest.fixture
def client(each_redis_url: str) -> Iterator[Any]:
    with connect(each_redis_url, timeout_ms=10_000) as client:
        yield client


@pytest.fixture
def wires(client: Any) -> Wires:
    return Wires(client)


def connections(client: Any) -> list[dict[str, str]]:
    return [each for each in client.client_list() if each["cmd"] != "client|list"]


class Interrupted(BaseException):
    """As a time limit's, which Celery raises wherever the task is."""


def interrupt(_signal: int, _frame: object) -> None:
    raise Interrupted


def test_calls_in_turns_share_a_connection(wires: Wires, client: Any) -> None:
    assert [wires.call("ECHO", f"{number}") for number in range(50)] == [b"%d" % number for number in range(50)]

    assert len(connections(client)) == 1


def test_an_error_that_is_the_reply_costs_no_connection(wires: Wires, client: Any) -> None:
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="unknown command"):
            wires.call("NONSENSE")

    assert wires.call("PING") == b"PONG"
    assert len(connections(client)) == 1


@pytest.mark.parametrize("after_s", [0.0005, 0.05])
def test_a_call_that_a_time_limit_breaks_off_leaves_no_reply_for_the_next(wires: Wires, after_s: float) -> None:
    wires.call("PING")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        with pytest.raises(Interrupted):
            wires.call("BLPOP", "nothing", "5")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert wires.call("ECHO", "mine") == b"mine"


def test_a_reply_that_nobody_waited_for_is_thrown_away(wires: Wires) -> None:
    wires.call("PING")
    (connection,) = wires._idle
    connection.send_command("ECHO", "of somebody else")
    assert connection.can_read(timeout=5)

    assert wires.call("ECHO", "mine") == b"mine"


def test_a_connection_that_the_server_closed_is_made_again_and_costs_no_try(wires: Wires, client: Any) -> None:
    wires.call("PING")
    (connection,) = wires._idle
    connection.retry = Retry(ConstantBackoff(0), 0)
    client.client_kill_filter(_type="normal", skipme=True)

    assert wires.call("PING") == b"PONG"


def test_threads_get_their_own_replies(wires: Wires, client: Any) -> None:
    def call(number: int) -> bool:
        return bool(wires.call("ECHO", f"{number}") == b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(2_000)))

    assert len(connections(client)) <= 8


def test_a_forked_child_makes_its_own(wires: Wires, client: Any) -> None:
    wires.call("PING")

    def run(answers: Any) -> None:
        answers.put([wires.call("CLIENT", "ID"), wires.call("ECHO", "of the child")])

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=run, args=(answers,))
    child.start()
    connection_of_child, echo = answers.get(timeout=30)
    child.join(30)

    assert echo == b"of the child"
    assert connection_of_child != wires.call("CLIENT", "ID")


def test_a_server_that_is_away_is_an_error_of_the_client() -> None:
    with connect("redis://localhost:1/0", timeout_ms=1_000) as client, pytest.raises(redis.ConnectionError):
        Wires(client).call("PING")


def test_a_lost_connection_has_a_second_try(wires: Wires, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wires.call("PING")
    (connection,) = wires._idle
    read, lost = connection.read_response, iter([True])

    def lose_first(*args: Any, **options: Any) -> Any:
        if next(lost, False):
            connection.disconnect()
            raise redis.ConnectionError("lost")
        return read(*args, **options)

    monkeypatch.setattr(connection, "read_response", lose_first)

    assert wires.call("ECHO", "again") == b"again"
