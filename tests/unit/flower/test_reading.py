"""Calls to a store beside an event loop: bounded in number and in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from trellis_celery import errors
from trellis_celery.flower.reading import Desk, Recent


def test_the_loop_goes_on_while_a_call_waits() -> None:
    gate = threading.Event()

    async def scene() -> str:
        waiting = asyncio.ensure_future(Desk().run(lambda: gate.wait(20)))
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.set()  # by the loop itself, which would never get here if it waited
        return str(await waiting)

    assert asyncio.run(scene()) == "True"


def test_an_error_of_the_call_reaches_who_asked() -> None:
    def fail() -> None:
        raise errors.ProcessNotFound(process_id="x")

    with pytest.raises(errors.ProcessNotFound):
        asyncio.run(Desk().run(fail))


def test_who_waits_too_long_is_told_and_the_thread_is_free_again_when_the_call_ends() -> None:
    gate, desk = threading.Event(), Desk(threads=1, max_waiting=0)

    async def scene() -> int:
        with pytest.raises(errors.StoreUnavailable, match=r"within 0\.01 s"):
            await desk.run(lambda: gate.wait(20), limit_s=0.01)
        with pytest.raises(errors.StoreUnavailable, match="too many"):
            await desk.run(lambda: 2)
        gate.set()
        return await until_it_works(lambda: desk.run(lambda: 3))

    assert asyncio.run(scene()) == 3


def test_a_call_that_nobody_waits_for_any_more_is_never_made() -> None:
    gate, made, desk = threading.Event(), [], Desk(threads=1)

    async def scene() -> None:
        first = asyncio.ensure_future(desk.run(lambda: gate.wait(20)))
        await asyncio.sleep(0)
        with pytest.raises(errors.StoreUnavailable):
            await desk.run(lambda: made.append("late"), limit_s=0.01)
        gate.set()
        await first
        await desk.run(lambda: made.append("last"))

    asyncio.run(scene())

    assert made == ["last"]


def test_no_more_calls_wait_than_is_sensible() -> None:
    gate, desk = threading.Event(), Desk(threads=1, max_waiting=2)

    async def scene() -> list[bool]:
        accepted = [asyncio.ensure_future(desk.run(lambda: gate.wait(20))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(errors.StoreUnavailable, match="too many"):
            await desk.run(lambda: True)
        gate.set()
        return await asyncio.gather(*accepted)

    assert asyncio.run(scene()) == [True] * 3


def test_an_answer_that_is_recent_is_not_asked_for_again() -> None:
    numbers = count(1)

    async def scene() -> list[int | None]:
        recent: Recent[int] = Recent(Desk(), good_for_s=60)
        return [await recent.get(lambda: next(numbers), patience_s=5) for _ in range(3)]

    assert asyncio.run(scene()) == [1, 1, 1]


def test_however_many_ask_at_once_the_store_is_asked_once() -> None:
    gate, numbers = threading.Event(), count(1)

    def read() -> int:
        gate.wait(20)
        return next(numbers)

    async def scene() -> list[int | None]:
        recent: Recent[int] = Recent(Desk(), good_for_s=0)
        asking = [asyncio.ensure_future(recent.get(read, patience_s=20)) for _ in range(5)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*asking)

    assert asyncio.run(scene()) == [1] * 5


def test_who_has_no_patience_gets_the_answer_of_before_and_the_new_one_comes_later() -> None:
    gate, numbers = threading.Event(), count(1)

    def read() -> int:
        number = next(numbers)
        if number == 2:
            gate.wait(20)
        return number

    async def scene() -> tuple[int | None, int | None, int]:
        recent: Recent[int] = Recent(Desk(), good_for_s=0)
        first = await recent.get(read, patience_s=20)
        impatient = await recent.get(read, patience_s=0.01)
        gate.set()

        async def newer() -> int:
            value = await recent.get(read, patience_s=20)
            assert value is not None
            return value

        return first, impatient, await newer()

    assert asyncio.run(scene()) == (1, 1, 2)


def test_after_an_error_the_next_who_asks_has_it_read_again() -> None:
    answers: list[int | Exception] = [errors.StoreUnavailable("away"), 7]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scene() -> int | None:
        recent: Recent[int] = Recent(Desk(), good_for_s=60)
        with pytest.raises(errors.StoreUnavailable):
            await recent.get(read, patience_s=20)
        return await recent.get(read, patience_s=20)

    assert asyncio.run(scene()) == 7


async def until_it_works(ask: Callable[[], Awaitable[int]]) -> int:
    """The thread leaves its place a moment after the call has ended."""
    while True:
        try:
            return await ask()
        except errors.StoreUnavailable:
            await asyncio.sleep(0.01)
