"""What is announced waits for a relay, from the commit that wrote it until it is marked."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process
from trellis_celery.ports import Outbox, ProcessStore
from trellis_celery.testing.contract.builders import Rule, change, complete, fail, new_process, reopen, start

#: Later than everything in these tests.
LATER_MS = 2**45


def announced(store: ProcessStore, process: Process, rule: Rule) -> None:
    (outcome,) = store.commit([replace(change(process, rule), is_announced=True)])
    process.steps["step"] = outcome.step  # type: ignore[union-attr]


class OutboxPromises:
    """Of stores that are an `Outbox` as well."""

    @pytest.fixture
    def outbox(self, store: ProcessStore) -> Outbox:
        return cast("Outbox", store)

    @pytest.fixture
    def process(self, store: ProcessStore) -> Process:
        process = new_process(store, process_type="A")
        store.create(process, is_announced=True)
        return process

    def test_nothing_waits_that_was_not_announced(self, store: ProcessStore, outbox: Outbox) -> None:
        process = new_process(store)
        store.create(process)
        store.commit([change(process, start())])

        assert outbox.unrelayed() == (0, None)
        assert outbox.claim_unrelayed(limit=10, until_ms=LATER_MS) == []

    def test_everything_announced_waits_in_order(self, store: ProcessStore, outbox: Outbox, process: Process) -> None:
        announced(store, process, start())
        announced(store, process, complete())

        (found,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)

        assert (found.process_id, found.key, found.first_number) == (process.id, process.key, 1)
        assert list(found.events) == store.history(process.id)
        assert [event.kind for event in found.events] == [
            EventKind.PROCESS_STARTED,
            EventKind.STEP_STARTED,
            EventKind.STEP_COMPLETED,
            EventKind.PROCESS_COMPLETED,
        ]

    def test_what_is_claimed_nobody_else_gets_until_then(self, store: ProcessStore, outbox: Outbox) -> None:
        process = new_process(store)
        store.create(process, is_announced=True)

        assert len(outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)) == 1
        assert outbox.claim_unrelayed(limit=10, until_ms=LATER_MS) == []
        assert outbox.unrelayed() == (1, LATER_MS)

    def test_a_claim_that_ran_out_is_for_the_next(self, outbox: Outbox, process: Process) -> None:
        outbox.claim_unrelayed(limit=10, until_ms=1)

        (again,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)

        assert (again.process_id, again.first_number) == (process.id, 1)

    def test_what_was_relayed_does_not_come_again(self, store: ProcessStore, outbox: Outbox, process: Process) -> None:
        outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)
        outbox.mark_relayed(process.id, last_number=1)
        assert outbox.unrelayed() == (0, None)

        announced(store, process, start())

        (found,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)
        assert (found.first_number, [event.kind for event in found.events]) == (2, [EventKind.STEP_STARTED])

    def test_what_came_while_it_was_relayed_waits_at_once(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)
        announced(store, process, start())

        outbox.mark_relayed(process.id, last_number=1)

        (found,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)
        assert found.first_number == 2

    def test_an_older_mark_takes_nothing_back(self, store: ProcessStore, outbox: Outbox, process: Process) -> None:
        announced(store, process, start())
        outbox.mark_relayed(process.id, last_number=2)

        outbox.mark_relayed(process.id, last_number=1)

        assert outbox.unrelayed() == (0, None)

    def test_a_change_that_is_sent_twice_is_relayed_once(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        twice = replace(change(process, start()), is_announced=True)
        for _ in range(2):
            store.commit([twice])

        (found,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)

        assert [event.kind for event in found.events] == [EventKind.PROCESS_STARTED, EventKind.STEP_STARTED]

    def test_those_that_wait_longest_come_first_and_no_more_than_asked_for(
        self, store: ProcessStore, outbox: Outbox
    ) -> None:
        for _ in range(5):
            store.create(new_process(store), is_announced=True)

        assert len(outbox.claim_unrelayed(limit=3, until_ms=LATER_MS)) == 3
        assert len(outbox.claim_unrelayed(limit=3, until_ms=LATER_MS)) == 2

    def test_a_process_is_not_removed_before_it_was_relayed(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        announced(store, process, complete())
        (finished,) = store.finished(is_archived=False, limit=1)

        assert not store.delete(process.id, finished_since_ms=finished.since_ms)

        outbox.mark_relayed(process.id, last_number=3)
        assert store.delete(process.id, finished_since_ms=finished.since_ms)

    def test_a_process_that_is_deleted_waits_no_longer(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        assert store.delete(process.id)

        assert outbox.unrelayed() == (0, None)
        outbox.mark_relayed(process.id, last_number=1)
        assert outbox.unrelayed() == (0, None)

    def test_numbers_go_on_when_a_process_is_reopened(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        announced(store, process, fail())
        outbox.mark_relayed(process.id, last_number=3)

        announced(store, process, reopen())

        (found,) = outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)
        assert (found.first_number, [event.kind for event in found.events]) == (4, [EventKind.STEP_REOPENED])

    def test_what_happens_meanwhile_takes_no_claim_back(
        self, store: ProcessStore, outbox: Outbox, process: Process
    ) -> None:
        outbox.claim_unrelayed(limit=10, until_ms=LATER_MS)

        announced(store, process, start())

        assert outbox.claim_unrelayed(limit=10, until_ms=LATER_MS) == []
