"""Whatever an id looks like, it is data: to every operation, in every store. And no id leads to another's process."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from inspect import signature
from itertools import count
from typing import NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.store_forms import FORMS, Opened
from tests.support.waiting import eventually
from trellis_celery import Process, ProcessFilter, ProcessService, ProcessStep, TimeoutCheckerService, errors
from trellis_celery.testing.contract.identifiers import HOSTILE

pytestmark = pytest.mark.integration

#: In every id: where it turns up, an id has been taken for something else.
MARK = "¶mark¶"


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.__name__)
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with ExitStack() as stack:
        opened: Opened = request.param(stack, request)
        yield opened
        assert opened.code() or "memory" in type(opened.store).__module__ or "pair" in request.param.__name__


# What an id looks like

ATTACKS = (
    *HOSTILE,
    "'; DELETE FROM trellis_processes; --",
    '" OR "1"="1',
    "' UNION SELECT 1 --",
    "%' OR 1=1 --",
    ":of_process",
    "%(tenant_id)s",
    "?",
    "$1",
    "`",
    "#state = :state",
    "attribute_exists(#p)",
    "redis.call('FLUSHALL')",
    "ARGV[1]",
    "]] return redis.call('KEYS', '*') --[[",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "C:\\temp\\x",
    "tenant*",
    "[^a]",
    "a\u200bb",
    "\ufeff",
    "\ud7ff\ue000",
)
printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)
part = st.sampled_from(ATTACKS) | printable
numbers = count()
#: Every one is new.
an_id = st.tuples(part, part).map(lambda parts: f"{parts[0][:240]}{MARK}{next(numbers)}{parts[1][:240]}")
eight_ids = st.lists(an_id, min_size=8, max_size=8)

few = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate)
)


class Key(NamedTuple):
    tenant_id: str
    process_type: str
    aggregate_type: str
    aggregate_id: str

    def start(self, service: ProcessService, *steps: ProcessStep) -> Process:
        return service.start_process(
            tenant_id=self.tenant_id,
            process_type=self.process_type,
            aggregate_type=self.aggregate_type,
            aggregate_id=self.aggregate_id,
            steps=steps or [ProcessStep("step")],
            metadata={self.tenant_id: self.aggregate_id},
        )

    def find(self, service: ProcessService) -> Process | None:
        return service.find_process(**self._asdict())


#: What `operate` calls.
OPERATIONS = {
    *("start_process", "get_process", "find_process", "list_processes", "history", "start_step", "complete_step"),
    *("fail_step", "retry_step", "cancel", "close_incident", "incidents", "stats"),
}


def operate(service: ProcessService, ids: list[str]) -> Process:
    """Do everything that can be done, with ids of which none may be taken for anything but itself."""
    key, (done, failed, hurried, left) = Key(*ids[:4]), ids[4:]
    tenant = key.tenant_id
    steps = [ProcessStep(done), ProcessStep(failed), ProcessStep(hurried, timeout_ms=1), ProcessStep(left)]
    process = key.start(service, *steps)
    assert key.start(service, *steps).id == process.id
    found = key.find(service)

    service.start_step(process.id, done)
    service.complete_step(process.id, done, by=tenant)
    service.fail_step(process.id, failed, error=left, by=tenant)
    service.retry_step(process.id, failed, by=tenant)
    service.fail_step(process.id, failed, error=left, by=tenant)
    service.start_step(process.id, hurried)
    checker = TimeoutCheckerService(service.store)
    of_tenant = ProcessFilter(tenant_id=tenant)
    eventually(lambda: checker.check_for_timed_out_steps() and service.incidents(of_tenant), what="given up")
    (incident,) = service.incidents(ProcessFilter(process_type=key.process_type))
    service.close_incident(process.id, incident.step.name, by=tenant, note=key.aggregate_id)
    assert service.incidents(of_tenant) == []
    for only in (of_tenant, ProcessFilter(aggregate_type=key.aggregate_type, aggregate_id=key.aggregate_id)):
        assert [summary.id for summary in service.list_processes(only)] == [process.id]
    service.cancel(process.id, reason=left, by=tenant)

    now = service.get_process(process.id)
    states = {name: str(step.state) for name, step in now.steps.items()}
    assert states == {done: "completed", failed: "failed", hurried: "failed", left: "cancelled"}
    assert (now.tenant_id, now.process_type, now.aggregate_type, now.aggregate_id) == tuple(ids[:4])
    assert found is not None
    assert (found.id, dict(now.metadata)) == (process.id, {tenant: key.aggregate_id})
    assert {event.step_name for event in service.history(process.id)} == {"", *ids[4:]}
    assert left in {event.detail for event in service.history(process.id)}
    assert {event.by for event in service.history(process.id)} == {"", tenant}
    assert key.find(service) is None
    assert sum(service.stats().processes.values()) > 0
    return now


def test_x1_the_test_below_calls_every_operation_there_is() -> None:
    assert {name for name in vars(ProcessService) if not name.startswith("_")} == OPERATIONS
    source = inspect.getsource(operate) + inspect.getsource(Key)
    assert all(f"service.{name}(" in source for name in OPERATIONS)


@pytest.mark.fault("X1", "X13")
@few
@given(ids=eight_ids)
def test_x1_an_id_of_any_form_is_data_to_every_operation_and_leaves_others_alone(
    opened: Opened, ids: list[str]
) -> None:
    service = ProcessService(opened.store)
    other = Key("tenant", "Type", "Aggregate", uuid4().hex).start(service)

    process = operate(service, ids)

    assert service.get_process(other.id).steps == other.steps
    assert MARK not in opened.code()
    opened.store.delete(process.id)
    with pytest.raises(errors.ProcessNotFound):
        service.get_process(process.id)
    assert service.get_process(other.id).steps == other.steps


@st.composite
def keys_that_run_together(draw: st.DrawFn) -> tuple[Key, Key]:
    """Two keys that are the same text when their parts are put together."""
    text = draw(st.lists(st.sampled_from(["a", "b", ":", "|", "/", "\\", "%3A", "{", "}", '","', " "]), min_size=6))
    text = [*text, str(next(numbers))]
    cuts = st.lists(st.integers(1, len(text) - 1), min_size=3, max_size=3, unique=True).map(sorted)
    one, other = draw(st.lists(cuts, min_size=2, max_size=2, unique_by=tuple))
    return _cut(text, one), _cut(text, other)


def _cut(text: list[str], places: list[int]) -> Key:
    return Key(*("".join(text[start:end]) for start, end in zip([0, *places], [*places, None], strict=True)))


@pytest.mark.fault("X2")
@few
@given(keys=keys_that_run_together())
def test_x2_keys_that_run_together_are_of_two_processes_and_neither_tenant_finds_or_changes_the_others(
    opened: Opened, keys: tuple[Key, Key]
) -> None:
    service, (one, other) = ProcessService(opened.store), keys
    ours = one.start(service)
    assert other.find(service) is None
    theirs = other.start(service)

    assert ours.id != theirs.id
    for key, process in ((one, ours), (other, theirs)):
        found = key.find(service)
        assert found is not None
        assert found.id == process.id
        listed = service.list_processes(ProcessFilter(tenant_id=key.tenant_id), limit=100)
        assert process.id in {summary.id for summary in listed}
        assert {summary.key.tenant_id for summary in listed} == {key.tenant_id}
    service.complete_step(ours.id, "step")
    opened.store.delete(ours.id)
    assert service.get_process(theirs.id).steps == theirs.steps


GUESSES = st.from_regex(r"[0-9a-f]-[0-9a-f]{32}", fullmatch=True) | part
NEAR_MISSES = st.sampled_from(["{id}\n", " {id}", "{id}*", "{id}\0", "{id}:s"])


@pytest.mark.fault("X2")
@few
@given(guess=GUESSES | NEAR_MISSES)
def test_x2_an_id_that_was_guessed_is_nobodys(opened: Opened, guess: str) -> None:
    service = ProcessService(opened.store)
    theirs = Key("their", "Type", "Aggregate", uuid4().hex).start(service, ProcessStep("step"), ProcessStep("failed"))
    service.fail_step(theirs.id, "failed", error="no")
    before = service.get_process(theirs.id), service.history(theirs.id)
    guess = guess.replace("{id}", theirs.id)

    for ask in changing(service):
        with pytest.raises((errors.ProcessNotFound, errors.StepNotFound)):
            ask(guess)
    with suppress(errors.ProcessNotFound):  # of what has not even the form of an id
        assert service.history(guess) == []
    assert not opened.store.delete(guess)

    assert (service.get_process(theirs.id), service.history(theirs.id)) == before
    assert re.fullmatch(r"[0-9a-f]-[0-9a-f]{32}", theirs.id), "the store gives ids out, and 122 bits of them are random"


def changing(service: ProcessService) -> list[Callable[[str], object]]:
    """Whatever is done to the process of an id, but for its history: that of no process is empty."""
    return [
        service.get_process,
        service.cancel,
        lambda process_id: service.start_step(process_id, "step"),
        lambda process_id: service.complete_step(process_id, "step"),
        lambda process_id: service.fail_step(process_id, "step", error="no"),
        lambda process_id: service.retry_step(process_id, "failed"),
        lambda process_id: service.close_incident(process_id, "failed"),
    ]


def test_x2_the_test_above_asks_for_all_that_takes_an_id() -> None:
    first = {name: next(iter(list(signature(vars(ProcessService)[name]).parameters)[1:]), "") for name in OPERATIONS}
    take_an_id = {name for name, parameter in first.items() if parameter in ("process", "process_id")}
    source = inspect.getsource(changing) + inspect.getsource(test_x2_an_id_that_was_guessed_is_nobodys)
    assert {name for name in take_an_id if f"service.{name}" not in source} == set()
    assert len(take_an_id) == 8
