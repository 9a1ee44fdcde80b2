from __future__ import annotations

from tests.unit.cli.pages import Shop, cells, plain
from trellis_celery.cli.listing import process_table


def test_the_list_shows_who_what_and_how_far() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.complete_step(order, "ship")
    shop.clock.advance(90_000)

    head, row = plain(process_table(shop.service.list_processes(), now_ms=shop.clock.now_ms())).splitlines()

    assert head.split() == ["PROCESS", "TYPE", "TENANT", "AGGREGATE", "STATE", "STEPS", "STARTED"]
    assert cells(row) == [order, "Order", "berlin", "Order order-1", "in_progress", "1/2", "1.5 min ago"]


def test_an_incident_and_a_missed_deadline_stand_beside_the_state() -> None:
    shop = Shop()
    shop.give_up_on(shop.order(1))
    shop.order(2, deadline_ms=1_000)
    shop.clock.advance(1_000)
    shop.check()

    page = plain(process_table(shop.service.list_processes(), now_ms=shop.clock.now_ms()))

    assert "failed (incident)" in page
    assert "pending (overdue)" in page


def test_an_empty_list_says_so() -> None:
    assert plain(process_table([], now_ms=0)) == "No processes."
