"""Did every step happen exactly once? Counted twice, from sources that know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence

from example_project.demo.screen import duration
from example_project.demo.story import Row
from example_project.referrals import database
from trellis_celery import EventKind, ProcessHandle, StepState


def problems(processes: Sequence[ProcessHandle]) -> list[str]:
    """What speaks against it: the steps' states, the processes' histories, and the journal that the tasks write."""
    found = []
    for process in processes:
        completions = [event.step_name for event in process.history() if event.kind is EventKind.STEP_COMPLETED]
        journal = database.journal(process.process.aggregate_id)
        for step in process.steps.values():
            where = f"{process.process.aggregate_id} {step.name}"
            if step.state is not StepState.COMPLETED:
                found.append(f"{where} is {step.state}")
            if completions.count(step.name) != 1:
                found.append(f"{where} was completed {completions.count(step.name)} times by its history")
            if journal.count(step.name) != 1:
                found.append(f"{where} was done {journal.count(step.name)} times by the journal")
    return found


def summary(rows: Sequence[Row], found: Sequence[str]) -> str:
    """The end of the demo in words."""
    rescues = [_rescue(row) for row in rows if row.lost]
    if found:
        return "\n".join(["This did not go as it should:", *(f"  {problem}" for problem in found), "", *rescues])
    return "\n".join(
        [
            f"{len(rescues)} runs were lost, and each was made good:",
            *rescues,
            "",
            f"All {len(rows)} steps happened exactly once: the journal that the tasks write says so,",
            "and so does the history of each process.",
        ]
    )


def _rescue(row: Row) -> str:
    what = f"  {row.step:<17} {row.lost:<15}"
    if row.noticed_after_ms is None:
        return f"{what} nobody noticed"
    end = f"finished by {row.done_by}" if row.done_by else "never finished"
    return f"{what} noticed after {duration(row.noticed_after_ms)}, {end}"
