from __future__ import annotations

from tests.unit.cli.pages import Shop, cells, plain
from trellis_celery.cli.process_page import process_page
from trellis_celery.domain.step import ProcessStep


def page_of(shop: Shop, process_id: str, **options: object) -> str:
    process = shop.service.get_process(process_id)
    now_ms = shop.clock.now_ms()
    return plain(
        process_page(process, shop.service.history(process_id), now_ms=now_ms, columns=100, **options)  # type: ignore[arg-type]
    )


def test_it_says_which_process_it_is_and_since_when() -> None:
    shop = Shop()
    order = shop.order(metadata={"channel": "web"}, deadline_ms=3_600_000)
    shop.clock.advance(120_000)

    lines = page_of(shop, order).splitlines()

    assert lines[:4] == [
        f"Order {order}",
        "pending; Order order-1, tenant berlin",
        "started 2027-01-15 08:00:00 UTC, 2.0 min ago; deadline in 58.0 min",
        'metadata {"channel":"web"}',
    ]


def test_a_step_has_its_attempt_its_deadline_and_its_last_error() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.clock.advance(60_000)
    shop.check()
    shop.clock.advance(10_000)

    (row,) = [line for line in page_of(shop, order).splitlines() if line.startswith("charge") and "of" in line]

    assert cells(row) == ["charge", "in_progress", "2 of 2", "run in 50.0 s", "-", "no outcome after 60000 ms"]


def test_the_log_says_what_happened_when_and_who_did_it() -> None:
    shop = Shop()
    order = shop.order()
    shop.clock.advance(250)
    shop.service.fail_step(order, "ship", "no stock", by="ann@desk")

    log = page_of(shop, order).partition("AT  EVENT")[2].splitlines()

    assert cells(log[2]) == ["+0.250 s", "step_failed", "ship", "1", "ann@desk", "no stock"]
    assert cells(log[3]) == ["+0.250 s", "process_failed", "-", "-", "-", "-"]


def test_a_step_that_was_given_up_comes_with_what_to_type_next() -> None:
    shop = Shop()
    order = shop.order()
    shop.give_up_on(order)

    page = page_of(shop, order, command_line="celery -A shop trellis")

    assert page.endswith(
        "charge needs somebody:\n"
        f"  celery -A shop trellis retry {order} charge\n"
        f"  celery -A shop trellis complete {order} charge\n"
        f"  celery -A shop trellis close {order} charge --note '…'"
    )


def test_the_name_of_a_step_is_quoted_for_the_shell_in_what_to_type_next() -> None:
    shop = Shop()
    order = shop.order(steps=[ProcessStep("$(reboot) now", timeout_ms=1_000)])
    shop.give_up_on(order, "$(reboot) now")

    assert f"retry {order} '$(reboot) now'" in page_of(shop, order)


def test_a_process_from_the_archive_is_shown_as_one_and_nothing_is_to_be_typed() -> None:
    shop = Shop()
    order = shop.order()
    shop.give_up_on(order)

    page = page_of(shop, order, is_archived=True)

    assert page.startswith(f"Order {order} (from the archive)")
    assert "needs somebody" not in page


def test_arguments_have_a_column_where_they_may_be_shown() -> None:
    shop = Shop()
    order = shop.order()

    assert "ARGUMENTS" not in page_of(shop, order)
    assert "('order-1',)" in page_of(shop, order, arguments={"charge": "('order-1',)"})


def test_text_from_outside_can_neither_break_the_page_nor_drive_the_terminal() -> None:
    shop = Shop()
    order = shop.order(metadata={"note": "\u202e\x9b2J"})

    shop.service.fail_step(order, "ship", "line\nbreak \x1b[31m and \x07 bell")
    page = page_of(shop, order)

    assert "line break ?[31m and ? bell" in page
    assert all(line.isprintable() for line in page.splitlines())
