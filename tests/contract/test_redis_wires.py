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
from trellis_celery.stores.redis.wires import SENT_AT_ONCE, Wires


@pytest.fixture
def client(each_redis_url: str) -> Iterator[Any]:
    with connect(each_redis_url, timeout_ms=10_000) as client:
        yield client


@pytest.fixture
def wires(client: Any) -> Wires:
    return Wires(client)


class Interrupted(BaseException):
    """As a time limit's, which Celery raises wherever the task is."""


def interrupt(_signal: int, _frame: object) -> None:
    raise Interrupted


def idle_connection(wires: Wires) -> Any:
    ((connection, _),) = wires._idle
    return connection


def test_calls_in_turns_share_a_connection(wires: Wires) -> None:
    first = wires.call("CLIENT", "ID")

    assert [wires.call("ECHO", f"{number}") for number in range(50)] == [b"%d" % number for number in range(50)]

    assert wires.call("CLIENT", "ID") == first


def test_an_error_that_is_the_reply_costs_no_connection(wires: Wires) -> None:
    first = wires.call("CLIENT", "ID")

    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="unknown command"):
            wires.call("NONSENSE")

    assert wires.call("CLIENT", "ID") == first


def wait_until_interrupted(wires: Wires, after_s: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, after_s)
    wires.call("BLPOP", "nothing", "5")


@pytest.mark.parametrize("after_s", [0.0005, 0.05])
def test_a_call_that_a_time_limit_breaks_off_leaves_no_reply_for_the_next(wires: Wires, after_s: float) -> None:
    wires.call("PING")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            wait_until_interrupted(wires, after_s)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert wires.call("ECHO", "mine") == b"mine"


@pytest.fixture
def looks_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is looked at before it is used, as one is that was idle for a while."""
    monkeypatch.setattr("trellis_celery.stores.redis.wires.QUIET_S", 0.0)


@pytest.mark.usefixtures("looks_at_all")
def test_a_reply_that_nobody_waited_for_is_thrown_away(wires: Wires) -> None:
    wires.call("PING")
    connection = idle_connection(wires)
    connection.send_command("ECHO", "of somebody else")
    assert connection.can_read(timeout=5)

    assert wires.call("ECHO", "mine") == b"mine"


@pytest.mark.usefixtures("looks_at_all")
def test_a_connection_that_the_server_closed_is_made_again_and_costs_no_try(wires: Wires, client: Any) -> None:
    wires.call("PING")
    connection = idle_connection(wires)
    connection.retry = Retry(ConstantBackoff(0), 0)
    client.client_kill_filter(_type="normal", skipme=True)

    assert wires.call("PING") == b"PONG"


def test_one_that_the_server_closed_a_moment_ago_has_a_second_try(wires: Wires, client: Any) -> None:
    first = wires.call("CLIENT", "ID")
    client.client_kill_filter(_type="normal", skipme=True)

    assert wires.call("CLIENT", "ID") != first


def test_a_connection_that_failed_is_not_kept(wires: Wires, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wires.call("PING")

    def fail(*_args: Any, **_options: Any) -> Any:
        raise redis.ConnectionError("lost")

    monkeypatch.setattr(idle_connection(wires), "read_response", fail)
    with pytest.raises(redis.ConnectionError, match="lost"):
        wires.call("PING")

    assert not wires._idle
    assert wires.call("ECHO", "on another") == b"on another"


def test_threads_get_their_own_replies(wires: Wires) -> None:
    def call(number: int) -> bool:
        return bool(wires.call("ECHO", f"{number}") == b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(2_000)))

    assert len(wires._idle) <= 8


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
    connection = idle_connection(wires)
    read, lost = connection.read_response, iter([True])

    def lose_first(*args: Any, **options: Any) -> Any:
        if next(lost, False):
            connection.disconnect()
            raise redis.ConnectionError("lost")
        return read(*args, **options)

    monkeypatch.setattr(connection, "read_response", lose_first)

    assert wires.call("ECHO", "again") == b"again"


MANY = 3 * SENT_AT_ONCE + 1


def test_many_calls_are_answered_in_order_each_with_its_own_reply_or_error(wires: Wires) -> None:
    first = wires.call("CLIENT", "ID")

    def make() -> Iterator[tuple[str, ...]]:
        for number in range(MANY):
            yield ("NONSENSE",) if number == SENT_AT_ONCE else ("ECHO", f"{number}")

    replies = wires.call_each(make)

    assert isinstance(replies[SENT_AT_ONCE], redis.ResponseError)
    assert [reply for number, reply in enumerate(replies) if number != SENT_AT_ONCE] == [
        b"%d" % number for number in range(MANY) if number != SENT_AT_ONCE
    ]
    assert wires.call("CLIENT", "ID") == first


def test_no_calls_have_no_replies(wires: Wires) -> None:
    assert wires.call_each(lambda: ()) == []


def test_many_calls_are_made_once_more_if_the_connection_is_lost(wires: Wires, client: Any) -> None:
    wires.call("PING")
    made = []

    def make() -> Iterator[tuple[str, str]]:
        made.append(0)
        for number in range(MANY):
            if len(made) == 1 and number == MANY - 1:
                client.client_kill_filter(_type="normal", skipme=True)
            yield "ECHO", f"{number}"

    assert wires.call_each(make) == [b"%d" % number for number in range(MANY)]
    assert len(made) == 2


def test_what_breaks_off_the_making_of_many_calls_leaves_no_reply_for_the_next(wires: Wires) -> None:
    def make() -> Iterator[tuple[str, str]]:
        for number in range(MANY):
            yield "ECHO", f"{number}"
        raise Interrupted

    with pytest.raises(Interrupted):
        wires.call_each(make)

    assert wires.call("ECHO", "mine") == b"mine"
