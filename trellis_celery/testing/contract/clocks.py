"""What a store promises about deadlines, leases, and the note of the last check."""

from __future__ import annotations

from trellis_celery.domain import runs
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Due, LastCheck, LeaseKey, ProcessStore, StepKey
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    apply,
    complete,
    created,
    deadlines,
    lapsed,
    queue,
    start,
)


def _timed(name: str = "step") -> ProcessStep:
    return ProcessStep(name, timeout_ms=1_000, queue_timeout_ms=5_000)


class ClockPromises:
    # Deadlines

    def test_a_step_is_due_from_its_deadline_on(self, store: ProcessStore) -> None:
        process = created(store, _timed())

        apply(store, process, start(at_ms=1_000))

        assert deadlines(store, now_ms=1_999) == []
        assert deadlines(store, now_ms=2_000) == [Due(StepKey(process.id, "step"), 2_000)]

    def test_the_deadline_of_a_step_follows_its_record(self, store: ProcessStore) -> None:
        process = created(store, _timed())

        apply(store, process, queue(at_ms=1_000))
        assert [item.since_ms for item in deadlines(store, now_ms=100_000)] == [6_000]

        apply(store, process, start(at_ms=7_000))
        assert [item.since_ms for item in deadlines(store, now_ms=100_000)] == [8_000]

        apply(store, process, complete(at_ms=7_500))
        assert deadlines(store, now_ms=100_000) == []

    def test_a_step_of_others_is_due_though_nobody_started_it(self, store: ProcessStore) -> None:
        process = created(store, ProcessStep("step", timeout_ms=1_000, external=True), started_at_ms=1_000)

        assert deadlines(store, now_ms=2_000) == [Due(StepKey(process.id, "step"), 2_000)]

    def test_the_oldest_deadlines_come_first_and_no_more_than_asked_for(self, store: ProcessStore) -> None:
        processes = [created(store, _timed()) for _ in range(4)]
        for process, at_ms in zip(processes, (3_000, 1_000, 4_000, 2_000), strict=True):
            apply(store, process, start(at_ms=at_ms))

        due = deadlines(store, now_ms=100_000, limit=3)

        assert [item.since_ms for item in due] == [2_000, 3_000, 4_000]
        assert [item.key.process_id for item in due] == [processes[index].id for index in (1, 3, 0)]

    def test_all_that_is_due_is_found_though_it_is_of_one_process(self, store: ProcessStore) -> None:
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000 + number, external=True) for number in range(40)]
        process = created(store, *steps, started_at_ms=1_000)

        due = deadlines(store, now_ms=100_000, limit=40)

        assert due == [Due(StepKey(process.id, step.name), 2_000 + number) for number, step in enumerate(steps)]

    # Leases

    def test_a_lease_lapses_unless_it_is_renewed(self, store: ProcessStore) -> None:
        process, now_ms = created(store), store.now_ms()
        apply(store, process, start(is_leased=True), lease_ms=MINUTE_MS)
        lease = LeaseKey(process.id, "step", 1)

        assert lapsed(store, now_ms=now_ms + MINUTE_MS // 2) == []
        (item,) = lapsed(store, now_ms=now_ms + 2 * MINUTE_MS)
        assert (item.key, item.lapsed_attempt) == (StepKey(process.id, "step"), 1)

        store.renew([lease], until_ms=now_ms + 3 * MINUTE_MS)

        assert lapsed(store, now_ms=now_ms + 3 * MINUTE_MS - 1) == []
        (item,) = lapsed(store, now_ms=now_ms + 3 * MINUTE_MS)
        assert item == Due(StepKey(process.id, "step"), now_ms + 3 * MINUTE_MS, 1)

    def test_leases_are_looked_at_only_if_asked_for(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, start(is_leased=True), lease_ms=1)

        assert store.due(now_ms=store.now_ms() + MINUTE_MS, limit=10, with_leases=False) == []

    def test_the_limit_counts_deadlines_and_leases_apart(self, store: ProcessStore) -> None:
        for _ in range(3):
            apply(store, created(store, _timed()), start(at_ms=1_000, is_leased=True), lease_ms=1)

        due = store.due(now_ms=store.now_ms() + MINUTE_MS, limit=2)

        assert sorted(item.lapsed_attempt is None for item in due) == [False, False, True, True]

    def test_only_a_renewal_moves_a_standing_lease(self, store: ProcessStore) -> None:
        process, now_ms = created(store), store.now_ms()
        started = apply(store, process, start(is_leased=True), lease_ms=MINUTE_MS).step
        store.renew([LeaseKey(process.id, "step", 1)], until_ms=now_ms + 2 * MINUTE_MS)

        apply(
            store,
            process,
            lambda step: runs.heartbeat(
                step, attempt=1, run_id=started.run_id or "", extend_ms=90 * MINUTE_MS, now_ms=now_ms
            ),
            lease_ms=60 * MINUTE_MS,
        )

        assert [item.since_ms for item in lapsed(store, now_ms=now_ms + 3 * MINUTE_MS)] == [now_ms + 2 * MINUTE_MS]

    def test_a_replaced_attempt_renews_nothing(self, store: ProcessStore) -> None:
        process, now_ms = created(store), store.now_ms()
        apply(store, process, start(is_leased=True), lease_ms=MINUTE_MS)
        apply(store, process, start(attempt=2, is_leased=True), lease_ms=MINUTE_MS)

        store.renew([LeaseKey(process.id, "step", 1)], until_ms=now_ms + 60 * MINUTE_MS)

        assert [item.lapsed_attempt for item in lapsed(store, now_ms=now_ms + 2 * MINUTE_MS)] == [2]
        assert [item.lapsed_attempt for item in lapsed(store, now_ms=now_ms + 90 * MINUTE_MS)] == [2]

    def test_a_finished_step_has_no_lease_and_renews_none(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, start(is_leased=True), lease_ms=1)
        apply(store, process, complete())

        store.renew([LeaseKey(process.id, "step", 1)], until_ms=1)

        assert lapsed(store, now_ms=store.now_ms() + MINUTE_MS) == []

    # Discard

    def test_a_discarded_deadline_comes_back_at_the_given_time(self, store: ProcessStore) -> None:
        apply(store, created(store, _timed()), start(at_ms=1_000))
        due = deadlines(store, now_ms=3_000)

        store.discard(due, until_ms=9_000)

        assert deadlines(store, now_ms=8_999) == []
        assert [item.key for item in deadlines(store, now_ms=9_000)] == [due[0].key]

    def test_a_deadline_discarded_for_good_stays_away_until_the_step_gets_another(self, store: ProcessStore) -> None:
        process = created(store, _timed())
        apply(store, process, queue(at_ms=1_000))

        store.discard(deadlines(store, now_ms=10_000), until_ms=None)
        assert deadlines(store, now_ms=100_000) == []

        apply(store, process, start(at_ms=7_000))
        assert [item.since_ms for item in deadlines(store, now_ms=100_000)] == [8_000]

    def test_a_deadline_that_moved_meanwhile_is_not_discarded(self, store: ProcessStore) -> None:
        process = created(store, _timed())
        apply(store, process, queue(at_ms=1_000))
        seen = deadlines(store, now_ms=10_000)
        apply(store, process, start(at_ms=7_000))

        store.discard(seen, until_ms=None)
        store.discard(seen, until_ms=50_000)

        assert [item.since_ms for item in deadlines(store, now_ms=10_000)] == [8_000]

    def test_a_lease_is_discarded_unless_it_was_renewed_meanwhile(self, store: ProcessStore) -> None:
        now_ms = store.now_ms()
        renewed, gone = (created(store) for _ in range(2))
        for process in (renewed, gone):
            apply(store, process, start(is_leased=True), lease_ms=MINUTE_MS)
        seen = lapsed(store, now_ms=now_ms + 2 * MINUTE_MS)
        store.renew([LeaseKey(renewed.id, "step", 1)], until_ms=now_ms + 90_000)

        store.discard(seen, until_ms=None)

        assert [item.key.process_id for item in lapsed(store, now_ms=now_ms + 2 * MINUTE_MS)] == [renewed.id]

    # The last check

    def test_nothing_was_checked_at_first(self, store: ProcessStore) -> None:
        assert store.last_check() == LastCheck()
        assert store.renew([], until_ms=1) == LastCheck()

    def test_whoever_renews_is_told_of_the_last_check(self, store: ProcessStore) -> None:
        check = LastCheck(1_000, "worker@é", 6_000)

        store.note_check(check)

        assert store.last_check() == check
        assert store.renew([], until_ms=1) == check
