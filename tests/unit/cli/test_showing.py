from __future__ import annotations

import pytest
from celery import Celery

from tests.unit.cli.conftest import Shell
from trellis_celery import ProcessType, Step, Trellis, process_step

CANARY = "canary-4711"


class Payment(ProcessType):
    pay = Step(timeout_ms=1_000)


def test_everything_about_a_process_is_one_line_of_json(shell: Shell) -> None:
    order = shell.shop.order(metadata={"channel": "web"})
    shell.shop.service.fail_step(order, "ship", "no stock", by="ann")

    (shown,) = shell.json("show", order)

    assert (shown["id"], shown["state"], shown["metadata"]) == (order, "failed", {"channel": "web"})
    assert [(step["name"], step["state"]) for step in shown["steps"]] == [("charge", "pending"), ("ship", "failed")]
    assert [(event["kind"], event["by"]) for event in shown["history"]] == [
        ("process_started", ""),
        ("step_failed", "ann"),
        ("process_failed", ""),
    ]
    assert shown["is_archived"] is False


def test_a_page_tells_of_the_same(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.service.fail_step(order, "ship", "no stock", by="ann")

    page = shell("show", order).stdout

    assert page.startswith(f"Order {order}\nfailed; Order order-1, tenant berlin\n")
    assert "step_failed      ship  1        ann  no stock" in page


@pytest.mark.parametrize("is_allowed", [True, False])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_arguments_of_tasks_are_shown_only_if_they_may_be(
    shell: Shell, is_allowed: bool, form: tuple[str, ...]
) -> None:
    app = shell.app = Celery("pay", set_as_current=False, broker="memory://")
    app.conf.trellis_show_args = is_allowed
    trellis = Trellis(app, store=shell.shop.store)

    @process_step(Payment.pay)
    @app.task(name="pay", shared=False)
    def pay(card: str) -> None: ...

    with trellis.start_process(Payment, tenant_id="t", aggregate_type="Order", aggregate_id="1") as process:
        pay.delay(CANARY)

    shown = shell("show", process.id, *form)

    assert shown.exit_code == 0
    assert (CANARY in shown.stdout) is is_allowed
    app.close()


def test_json_from_outside_cannot_drive_the_terminal(shell: Shell) -> None:
    order = shell.shop.order(metadata={"note": "\x9b2J\u202e\x7f"})

    result = shell("show", order, "--json")

    assert result.stdout.removesuffix("\n").isprintable()
    assert shell.json("show", order)[0]["metadata"] == {"note": "\x9b2J\u202e\x7f"}
