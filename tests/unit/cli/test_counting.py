from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.pages import Shop, cells, plain
from trellis_celery.cli.counting import check_line, quantile_ms
from trellis_celery.domain.queries import Lateness
from trellis_celery.ports import LastCheck


def rows(shell: Shell) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in shell("stats").stdout.splitlines() if line}


def test_processes_are_counted_by_type_and_state(shell: Shell) -> None:
    shop = shell.shop
    shop.give_up_on(shop.order(1))
    shell("cancel", shop.order(2))
    shop.order(3)
    shop.order(4, deadline_ms=1_000)
    shop.clock.advance(1_000)
    shop.check()

    assert rows(shell)["TYPE"]
    head, order = shell("stats").stdout.splitlines()[:2]
    assert cells(head) == ["TYPE", "PENDING", "IN PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "OVERDUE", "INCIDENT"]
    assert order.split() == ["Order", "2", "0", "0", "1", "1", "1", "1"]


def test_what_happened_is_counted_by_step(shell: Shell) -> None:
    shell.shop.give_up_on(shell.shop.order(1))

    (row,) = [line.split() for line in shell("stats").stdout.splitlines() if line.split()[:2] == ["Order", "charge"]]

    assert row[2:] == ["1", "0", "0", "2", "1", "1", "0", "0"]


def test_what_is_due_and_nobody_took_up_is_told(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.service.start_step(order, "charge")
    shell.shop.clock.advance(60_000)

    assert "due: 1" in shell("stats").stdout


def test_json_has_every_count(shell: Shell) -> None:
    shell.shop.give_up_on(shell.shop.order())

    (stats,) = shell.json("stats")

    assert stats["processes"] == [
        {"process_type": "Order", "state": "failed", "is_overdue": False, "has_incident": True, "count": 1}
    ]
    assert {"process_type": "Order", "step_name": "charge", "kind": "step_gave_up", "count": 1} in stats["events"]
    assert stats["last_check"] == {"at_ms": shell.shop.clock.now_ms(), "by": "test"}
    assert (stats["due"], stats["lateness"]["count"]) == (0, stats["lateness"]["count"])


def test_an_empty_store_says_so(shell: Shell) -> None:
    assert shell("stats").stdout.startswith("No processes.\n\ndue: 0\nlast check: never")
    assert shell.json("stats")[0]["last_check"] == {"at_ms": None, "by": ""}


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (LastCheck(at_ms=10_000, by="beat"), "last check: 2.0 s ago, by beat"),
        (LastCheck(at_ms=8_999, by="beat"), "last check: 3.0 s ago, by beat; it is late, and nothing that is late"),
        (LastCheck(), "last check: never; nothing that is late or lost is noticed"),
    ],
)
def test_a_check_that_is_late_or_was_never_made_is_told(last: LastCheck, told: str) -> None:
    assert plain([check_line(last, now_ms=12_000, late_ms=3_000)]).startswith(told)


@pytest.mark.parametrize(
    ("buckets", "count", "bound"),
    [({1_000: 95, 5_000: 5}, 100, 1_000), ({1_000: 94, 5_000: 6}, 100, 5_000), ({1_000: 1}, 100, None)],
)
def test_a_share_lies_within_the_bound_that_covers_it(buckets: dict[int, int], count: int, bound: int | None) -> None:
    assert quantile_ms(Lateness(buckets=buckets, count=count), 0.95) == bound


def test_several_types_have_a_sum(shell: Shell) -> None:
    shell.shop.order(1)
    shell.shop.service.start_process(
        tenant_id="t", process_type="Refund", aggregate_type="Order", aggregate_id="1", steps=Shop.a_step()
    )

    assert rows(shell)["(all)"][0] == "2"
