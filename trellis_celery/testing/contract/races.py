"""What a store promises to several OS processes that want the same thing at the same moment.

Threads share a client, its locks and its idea of the time. Programs share nothing but the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, Committed, Conflict, ProcessStore, StepKey
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.testing.contract.audit import assert_consistent
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    change,
    complete,
    created,
    new_process,
    queue,
    start,
)
from trellis_celery.testing.contract.rival import Opener, Rivals
from trellis_celery.testing.fakes import RecordingRequeuer


class SharedStore:
    """What the promises to several OS processes need to know of a store."""

    #: False: the store lives in one Python process, and what is promised to several is not for it.
    shared_between_processes = True

    @pytest.fixture
    def open_again(self) -> Opener:
        """Opens the store of the fixture `store` once more, in another OS process. It is pickled on its way there."""
        if not self.shared_between_processes:
            pytest.skip("this store lives in one Python process, as its shared_between_processes says")
        pytest.fail(
            "override the fixture `open_again` with one that returns a function that opens the same store in another "
            "OS process, or say `shared_between_processes = False`"
        )


class RacePromises(SharedStore):
    #: How many OS processes race.
    rivals_count = 4
    #: How many times they race for one thing.
    races = 10
    #: How many steps they finish or find due together.
    contested_steps = 60

    @pytest.fixture(scope="class")
    @classmethod
    def rivals(cls) -> Iterator[Rivals]:
        rivals = Rivals(cls.rivals_count)
        yield rivals
        rivals.close()

    def test_of_programs_that_write_the_same_version_exactly_one_wins(
        self, store: ProcessStore, open_again: Opener, rivals: Rivals
    ) -> None:
        process = created(store)

        for attempt in range(1, self.races + 1):
            changes = [change(process, start(attempt=attempt)) for _ in range(rivals.count)]
            outcomes = [outcome for (outcome,) in rivals.all_do(open_again, _commit, [([each],) for each in changes])]
            (won,) = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
            assert outcomes.count(Conflict(won.step)) == rivals.count - 1
            process.steps["step"] = won.step

        assert_consistent(store, [process.id])

    def test_programs_that_finish_different_steps_lose_none_and_finish_the_process_once(
        self, store: ProcessStore, open_again: Opener, rivals: Rivals
    ) -> None:
        names = [f"step-{number}" for number in range(self.contested_steps)]
        process = created(store, *names)
        changes = [change(process, complete(), name) for name in names]

        shares = [(changes[number :: rivals.count],) for number in range(rivals.count)]
        outcomes = [outcome for share in rivals.all_do(open_again, _commit_singly, shares) for outcome in share]

        assert [type(outcome) for outcome in outcomes] == [Committed] * len(names)
        finishing = [each for each in outcomes if each.state_after is ProcessState.COMPLETED is not each.state_before]
        assert len(finishing) == 1
        assert store.load(process.id).is_completed()
        assert_consistent(store, [process.id])

    def test_programs_that_start_one_business_key_start_one_live_process(
        self, store: ProcessStore, open_again: Opener, rivals: Rivals
    ) -> None:
        rounds = [
            [new_process(store, aggregate_id=f"aggregate-{number}") for _ in range(rivals.count)]
            for number in range(self.races)
        ]

        live_ids = rivals.all_do(open_again, _create, [(list(own),) for own in zip(*rounds, strict=True)])

        for processes, told in zip(rounds, zip(*live_ids, strict=True), strict=True):
            assert len(set(told)) == 1, "the programs were told of different processes"
            assert told[0] in [process.id for process in processes]
        assert_consistent(store, [process.id for processes in rounds for process in processes])
        assert len(store.list_processes(limit=1_000)) == self.races

    def test_of_programs_that_check_for_late_steps_at_once_exactly_one_claims_each(
        self, store: ProcessStore, open_again: Opener, rivals: Rivals
    ) -> None:
        names = [f"step-{number}" for number in range(self.contested_steps // 2)]
        steps = [ProcessStep(name, timeout_ms=1_000, retries_permitted=1) for name in names]
        processes = [created(store, *steps) for _ in range(2)]
        for process in processes:
            _start_all(store, process, at_ms=store.now_ms() - 60 * MINUTE_MS)

        sent = rivals.all_do(open_again, _check, [()] * rivals.count)

        # On a machine that stalls, a claim may run out before its message is confirmed: then that is sent again.
        expected = {(StepKey(process.id, name), 2, b"message") for process in processes for name in names}
        assert {each for share in sent for each in share} == expected
        for process in processes:
            kinds = [event.kind for event in store.history(process.id)]
            assert kinds.count(EventKind.STEP_TIMED_OUT) == len(names), "each was claimed once"
        assert_consistent(store, [process.id for process in processes], may_be_claimed_again=True)


def _start_all(store: ProcessStore, process: Process, *, at_ms: int) -> None:
    for rule, fields in ((queue(at_ms=at_ms), {"message": b"message"}), (start(at_ms=at_ms), {})):
        for outcome in store.commit([change(process, rule, name, **fields) for name in process.steps]):
            assert isinstance(outcome, Committed), outcome
            process.steps[outcome.step.name] = outcome.step


# What the rivals do


def _commit(store: ProcessStore, changes: Sequence[Change]) -> list[Any]:
    return store.commit(changes)


def _commit_singly(store: ProcessStore, changes: Sequence[Change]) -> list[Any]:
    return [outcome for each in changes for outcome in store.commit([each])]


def _create(store: ProcessStore, processes: Sequence[Process]) -> list[str]:
    return [store.create(process) for process in processes]


def _check(store: ProcessStore) -> list[tuple[StepKey, int, bytes | None]]:
    requeuer = RecordingRequeuer()
    TimeoutCheckerService(store, requeuer=requeuer, batch_size=10, budget_ms=30_000).check_for_timed_out_steps()
    return [(StepKey(each.process_id, each.step.name), each.step.attempt, each.message) for each in requeuer.sent]
