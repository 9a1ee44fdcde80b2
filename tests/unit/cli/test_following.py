from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.pages import plain
from trellis_celery import errors
from trellis_celery.cli.following import OneProcess, Room, Urgent
from trellis_celery.cli.gantt import UNICODE
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep

ROOM = Room(78, 24, UNICODE)


def followed(shell: Shell, process_id: str) -> OneProcess:
    return OneProcess(shell.trellis, shell.shop.service.get_process(process_id))


class TestOneProcess:
    def test_each_look_tells_what_is_new_since_the_last(self, shell: Shell) -> None:
        order = shell.shop.order()
        process = followed(shell, order)
        first = process.look()
        shell.shop.service.start_step(order, "charge")
        shell.shop.service.fail_step(order, "charge", "no money", by="ann")

        assert [news.text for news in first] == ["2027-01-15 08:00:00 UTC  process_started"]
        assert [news.text.partition("  ")[2] for news in process.look()] == [
            "step_started charge attempt 1",
            "step_failed charge attempt 1: no money (by ann)",
            "process_failed",
        ]
        assert process.look() == []

    def test_news_are_data_too(self, shell: Shell) -> None:
        order = shell.shop.order()

        (news,) = followed(shell, order).look()

        assert news.data == {
            "process": order,
            "kind": "process_started",
            "step": "",
            "attempt": 0,
            "occurred_at_ms": shell.shop.clock.now_ms(),
            "detail": "",
            "by": "",
        }

    def test_it_ends_with_its_last_step(self, shell: Shell) -> None:
        order = shell.shop.order()
        process = followed(shell, order)
        process.look()
        shell.shop.service.complete_step(order, "charge")
        process.look()
        before = process.has_ended
        shell.shop.service.complete_step(order, "ship")
        news = process.look()

        assert (before, process.has_ended) == (False, True)
        assert news[-1].text.endswith("process_completed")

    def test_one_that_was_removed_is_an_error(self, shell: Shell) -> None:
        process = followed(shell, shell.shop.order())
        shell.shop.store.delete(process.process.id)

        with pytest.raises(errors.ProcessNotFound):
            process.look()

    def test_its_picture_fits_the_terminal_however_many_steps_it_has(self, shell: Shell) -> None:
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000) for number in range(100)]
        order = shell.shop.order(steps=steps)
        for step in steps:
            shell.shop.service.start_step(order, step.name)
        process = followed(shell, order)
        process.look()

        picture = plain(process.picture(ROOM)).splitlines()

        assert len(picture) <= ROOM.lines
        assert "more steps" in "\n".join(picture)
        assert picture[-1].endswith("step_started step-99 attempt 1")

    def test_where_not_all_steps_fit_the_unfinished_are_drawn(self, shell: Shell) -> None:
        steps = [ProcessStep(f"step-{number}") for number in range(40)]
        order = shell.shop.order(steps=steps)
        for step in steps[:-1]:
            shell.shop.service.complete_step(order, step.name)
        shell.shop.service.start_step(order, "step-39")
        process = followed(shell, order)
        process.look()

        assert any(line.startswith("step-39 ") for line in plain(process.picture(ROOM)).splitlines())


class TestUrgent:
    def test_those_with_incidents_come_first_and_then_the_overdue(self, shell: Shell) -> None:
        shop = shell.shop
        given_up = shop.order(1)
        overdue = shop.order(2, deadline_ms=1_000)
        shop.give_up_on(given_up)
        shop.clock.advance(1)
        newest = shop.order(3)
        urgent = Urgent(shell.trellis, ProcessFilter(), limit=10)

        urgent.look()

        assert [process.id for process in urgent.processes] == [given_up, overdue, newest]

    def test_each_look_tells_which_have_changed(self, shell: Shell) -> None:
        order, other = shell.shop.order(1), shell.shop.order(2)
        urgent = Urgent(shell.trellis, ProcessFilter(), limit=10)
        first = urgent.look()
        shell.shop.service.complete_step(order, "ship")

        (news,) = urgent.look()

        assert {one.data["id"] for one in first} == {order, other}
        assert news.text.endswith(f"{order} Order, Order order-1, tenant berlin: in_progress, 1/2 steps")
        assert urgent.look() == []

    def test_its_picture_says_when_the_last_check_was(self, shell: Shell) -> None:
        shell.shop.order()
        shell.shop.check()
        urgent = Urgent(shell.trellis, ProcessFilter(), limit=10)
        urgent.look()

        assert "last check: 0.0 s ago, by test" in plain(urgent.picture(ROOM))
