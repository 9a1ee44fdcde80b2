from __future__ import annotations

import re

import pytest

from trellis_celery.cli import mermaid
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import OnTimeout, ProcessStep


def a_process(*steps: ProcessStep) -> Process:
    return Process.start(
        tenant_id="t", process_type="Order", aggregate_type="Order", aggregate_id="1", steps=steps, now_ms=0
    )


def labels(diagram: str) -> list[str]:
    return re.findall(r'step\d+\[+"(.*?)"\]+', diagram)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (ProcessStep("a"), ["no time limit", "1 attempt", "sent once more after 15 min in the queue"]),
        (
            ProcessStep("a", timeout_ms=90_000, retries_permitted=2, backoff_ms=500, queue_timeout_ms=1_000),
            [
                "1 min 30 s for each attempt",
                "3 attempts, 500 ms and more between them",
                "sent once more after 1 s in the queue",
            ],
        ),
        (
            ProcessStep("a", timeout_ms=1_000, on_timeout=OnTimeout.ALERT),
            ["1 s for each attempt", "late or lost: only told", "sent once more after 15 min in the queue"],
        ),
        (ProcessStep("a", external=True), ["external: a person or another system completes it", "no time limit"]),
    ],
)
def test_a_step_is_drawn_with_its_clocks(step: ProcessStep, told: list[str]) -> None:
    (label,) = labels(mermaid.of_type("Order", [step]))

    assert label.split("<br/>") == ["a", *told]


def test_a_type_is_drawn_with_its_deadline_and_the_tasks_that_do_its_steps() -> None:
    diagram = mermaid.of_type("Order", [ProcessStep("a")], deadline_ms=3_600_000, tasks={"a": "shop.a"})

    assert diagram.startswith('flowchart LR\n    start(["Order<br/>deadline 1 h"])')
    assert "task shop.a" in diagram


def test_every_step_leads_to_both_ends() -> None:
    diagram = mermaid.of_type("Order", [ProcessStep("a"), ProcessStep("b")])

    assert "    start --> step0 & step1\n    step0 & step1 --> completed\n    step0 & step1 -.-> failed" in diagram


def test_a_process_has_its_steps_in_the_colours_of_their_states() -> None:
    process = a_process(ProcessStep("a"), ProcessStep("b"))
    process.fail_step("b", "no stock", now_ms=1)

    diagram = mermaid.of_process(process)

    assert labels(diagram)[1].endswith("failed: no stock")
    assert "class step0 pending\n    class step1 failed\n    class failed failed" in diagram


def test_text_from_outside_cannot_end_its_label_or_become_markup() -> None:
    hostile = 'a"] --> b; click start "javascript:alert(1)" <img src=x> `md` #quot; \\" & \u202e\x1b['
    process = a_process(ProcessStep("x"))
    process.fail_step("x", hostile, now_ms=1)

    (line,) = [line for line in mermaid.of_process(process).splitlines() if line.startswith("    step0[")]

    content = line.removeprefix('    step0["').removesuffix('"]')
    assert not re.search(r'["<>`\\]', content.replace("<br/>", ""))
    assert re.sub(r"#\d+;", "", content).count("#") == 0
    assert line.isprintable()
