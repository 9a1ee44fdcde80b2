"""Uses of the public API as type checkers see them. Checked by mypy --strict and pyright, never run.

A line that must be an error carries an ignore comment; both checkers complain about an ignore that is not needed.
"""

from typing import assert_type

from celery import Celery, shared_task
from celery.result import AsyncResult

from trellis_celery import CurrentStep, ProcessHandle, ProcessType, Step, Trellis, current_step, process_step


class Claim(ProcessType):
    validate = Step(timeout_ms=30_000, retries_permitted=3)
    review = Step(external=True)


app = Celery("claims")
trellis = Trellis(app)


@shared_task
@process_step(Claim.validate)
def bound_below(claim_id: str) -> int:
    return len(claim_id)


@process_step(Claim.validate)
@shared_task
def bound_above(claim_id: str) -> int:
    return len(claim_id)


assert_type(bound_below.delay("c-1"), AsyncResult[int])
assert_type(bound_above.delay("c-1"), AsyncResult[int])
bound_below.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bound_above.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

Claim.vaildate  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
process_step("Claim.validate")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Step(timeout=30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

with trellis.start_process(Claim, tenant_id="t", aggregate_type="Claim", aggregate_id="c-1") as process:
    assert_type(process, ProcessHandle)
    assert_type(process.refresh(), ProcessHandle)
    assert_type(process.steps["validate"].attempt, int)

assert_type(current_step(), CurrentStep | None)
