"""Steps that were given up: found until somebody deals with them."""

from __future__ import annotations

from msgspec.structs import replace

from trellis_celery.domain import outcomes, timeouts
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep
from trellis_celery.domain.transitions import Transition
from trellis_celery.ports import ProcessStore
from trellis_celery.testing.contract.builders import apply, cancel, created, loaded_step, reopen, start

WITH_INCIDENT = ProcessFilter(has_incident=True)


def give_up(step: ProcessStep) -> Transition:
    """As if all attempts had been used, and it was told so."""
    giving_up = replace(step, deadline_kind=DeadlineKind.GIVING_UP, last_error="no outcome after 10 ms")
    transition = timeouts.give_up(giving_up, attempt=step.attempt, now_ms=20)
    return Transition(step, transition.after, transition.events)


def alert(step: ProcessStep) -> Transition:
    """The time of a step is over that is only told about."""
    _, transition = timeouts.time_out(step, now_ms=1_000_000)
    return transition


def close(step: ProcessStep) -> Transition:
    return outcomes.close_incident(step, now_ms=30, by="ann", note="paid by hand")


class IncidentPromises:
    def test_a_step_that_was_given_up_is_found_until_the_incident_is_closed(self, store: ProcessStore) -> None:
        other, process = created(store), created(store, "step", "other")
        apply(store, other, start())
        apply(store, process, start())

        apply(store, process, give_up)

        (listed,) = store.list_processes(WITH_INCIDENT)
        assert (listed.id, listed.state, listed.has_incident) == (process.id, ProcessState.FAILED, True)
        assert loaded_step(store, process).has_incident
        assert store.load(process.id).has_incident

        apply(store, process, close)

        assert store.list_processes(WITH_INCIDENT) == []
        (listed,) = store.list_processes(ProcessFilter(state=ProcessState.FAILED))
        assert (listed.id, listed.has_incident) == (process.id, False)

    def test_a_step_that_is_only_told_about_has_an_incident_while_it_runs(self, store: ProcessStore) -> None:
        process = created(store, ProcessStep("step", timeout_ms=10, on_timeout=OnTimeout.ALERT))
        apply(store, process, start())

        apply(store, process, alert)

        (listed,) = store.list_processes(replace(WITH_INCIDENT, state=ProcessState.IN_PROGRESS))
        assert (listed.id, listed.has_incident) == (process.id, True)

        apply(store, process, cancel())

        assert store.list_processes(WITH_INCIDENT) == []
        assert not store.load(process.id).has_incident

    def test_a_process_has_an_incident_until_its_last_one_is_gone(self, store: ProcessStore) -> None:
        process = created(store, "a", "b")
        for step_name in ("a", "b"):
            apply(store, process, start(), step_name)
            apply(store, process, give_up, step_name)

        apply(store, process, close, "a")
        assert [each.id for each in store.list_processes(WITH_INCIDENT)] == [process.id]

        apply(store, process, reopen(), "b")
        assert store.list_processes(WITH_INCIDENT) == []

    def test_incidents_are_found_by_type_tenant_and_business_key(self, store: ProcessStore) -> None:
        wanted = created(store, tenant_id="t", process_type="P", aggregate_id="1")
        others = [created(store, tenant_id="t", process_type="Q"), created(store, tenant_id="u", process_type="P")]
        for process in (wanted, *others):
            apply(store, process, start())
            apply(store, process, give_up)
        created(store, tenant_id="t", process_type="P")

        for only in (
            ProcessFilter(has_incident=True, tenant_id="t", process_type="P"),
            ProcessFilter(has_incident=True, aggregate_id="1"),
        ):
            assert [each.id for each in store.list_processes(only)] == [wanted.id]

    def test_who_closed_an_incident_and_why_is_in_the_log(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, start())
        apply(store, process, give_up)

        apply(store, process, close)

        closed = [event for event in store.history(process.id) if event.kind is EventKind.INCIDENT_CLOSED]
        assert [(event.by, event.detail) for event in closed] == [("ann", "paid by hand")]
