from __future__ import annotations

from tests.unit.cli.conftest import Shell
from trellis_celery import ProcessType, Step, process_step


class GraphedOrder(ProcessType, deadline_ms=86_400_000):
    """What the tests below draw."""

    charge = Step(timeout_ms=30_000, retries_permitted=2)
    pack = Step(task="warehouse.pack")
    sign = Step(external=True)


def test_a_type_is_drawn_with_its_steps_and_their_tasks(shell: Shell) -> None:
    @process_step(GraphedOrder.charge)
    @shell.app.task(name="shop.charge", shared=False)
    def charge() -> None: ...

    diagram = shell("graph", "GraphedOrder").stdout

    assert '["charge<br/>task shop.charge<br/>30 s for each attempt<br/>3 attempts' in diagram
    assert '["pack<br/>task warehouse.pack<br/>' in diagram
    assert '[["sign<br/>external' in diagram


def test_a_type_may_be_named_as_an_option(shell: Shell) -> None:
    assert shell("graph", "--type", "GraphedOrder").stdout == shell("graph", "GraphedOrder").stdout


def test_a_process_is_drawn_with_its_states(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.service.complete_step(order, "charge")

    by_id, by_key = shell("graph", order).stdout, shell("graph", "--aggregate", "order-1").stdout

    assert by_id == by_key
    assert "class step0 completed" in by_id


def test_json_has_the_diagram_in_it(shell: Shell) -> None:
    order = shell.shop.order()

    (of_process,), (of_type,) = shell.json("graph", order), shell.json("graph", "GraphedOrder")

    assert (of_process["process"], of_process["process_type"]) == (order, "Order")
    assert (of_type["process"], of_type["process_type"]) == (None, "GraphedOrder")
    assert of_type["mermaid"] + "\n" == shell("graph", "GraphedOrder").stdout


def test_a_type_that_is_none_is_answered_with_the_nearest(shell: Shell) -> None:
    result = shell("graph", "GraphedOdrer")

    assert result.exit_code == 1
    assert "did you mean GraphedOrder?" in result.stderr


def test_something_has_to_be_named(shell: Shell) -> None:
    result = shell("graph")

    assert result.exit_code == 2
    assert "GraphedOrder" in result.stderr


def test_an_app_whose_tasks_cannot_be_imported_is_a_short_error(shell: Shell) -> None:
    shell.app.conf.imports = ["no.such.module"]

    result = shell("graph", "GraphedOrder")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the app's tasks cannot be imported: No module named 'no'")
