from __future__ import annotations

from tests.unit.cli.conftest import Shell
from tests.unit.cli.pages import Shop, cells, plain
from trellis_celery.cli.incidents import incident_list
from trellis_celery.domain.step import OnTimeout, ProcessStep


def test_a_step_that_was_given_up_is_listed_until_somebody_deals_with_it(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)
    shell.shop.clock.advance(120_000)

    listed = shell("incidents")
    shell("close", order, "charge")

    _, row = listed.stdout.splitlines()
    assert cells(row) == [
        order,
        "Order",
        "berlin",
        "Order order-1",
        "charge",
        "failed",
        "2.0 min ago",
        "gave up after attempt 2: no outcome after 60000 ms",
    ]
    assert "retry PROCESS STEP" in listed.stderr
    assert shell("incidents").stdout == "No incidents.\n"


def test_json_tells_what_to_type_next(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)

    (incident,) = shell.json("incidents")

    assert (incident["process"], incident["step"], incident["since_ms"]) == (order, "charge", shell.shop.clock.now_ms())
    assert incident["next"][0].endswith(f"trellis retry {order} charge")


def test_they_are_narrowed_and_paged(shell: Shell) -> None:
    orders = [shell.shop.order(number) for number in range(3)]
    for order in orders:
        shell.shop.give_up_on(order)

    page = shell("incidents", "--limit", "2")
    after = page.stderr.split("--after ")[1].strip()

    assert len(page.stdout.splitlines()) == 3
    assert len(shell.json("incidents", "--limit", "2", "--after", after)) == 1
    assert [each["process"] for each in shell.json("incidents", "--aggregate", "order-1")] == [orders[1]]
    assert shell.json("incidents", "--tenant", "paris") == []


def test_a_step_that_may_not_run_twice_is_completed_or_failed_by_whoever_looks_at_it() -> None:
    shop = Shop()
    order = shop.order(steps=[ProcessStep("pay out", timeout_ms=1_000, on_timeout=OnTimeout.ALERT)])
    shop.service.start_step(order, "pay out")
    shop.clock.advance(1_000)
    shop.check()

    page = plain(incident_list(shop.service.incidents(), now_ms=shop.clock.now_ms(), command_line="celery trellis"))

    assert page.splitlines()[2:5] == [
        f"  celery trellis complete {order} 'pay out'",
        f"  celery trellis fail {order} 'pay out' --error '…'",
        f"  celery trellis close {order} 'pay out' --note '…'",
    ]
