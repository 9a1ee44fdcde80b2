"""What becomes of a write that its writer repeats because the reply was lost."""

from __future__ import annotations

from trellis_celery.ports import Change, Committed, Conflict, ProcessStore
from trellis_celery.testing.contract.builders import apply, change, complete, created, loaded_step, start


class RepetitionPromises:
    def test_a_repeated_commit_is_recognised_and_done_once(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        history = store.history(process.id)

        (second,) = store.commit([started])

        assert isinstance(first, Committed)
        assert isinstance(second, Committed)
        assert second.step == first.step == loaded_step(store, process)
        assert store.history(process.id) == history

    def test_a_commit_repeated_after_others_have_written_is_a_conflict(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        assert isinstance(first, Committed)
        process.steps["step"] = first.step
        completed = apply(store, process, complete())

        assert store.commit([started]) == [Conflict(completed.step)]

    def test_the_same_change_by_somebody_else_is_a_conflict(self, store: ProcessStore) -> None:
        process = created(store)
        ours = change(process, start())
        theirs = Change(process_id=process.id, transition=ours.transition)
        (first,) = store.commit([ours])
        assert isinstance(first, Committed)

        assert store.commit([theirs]) == [Conflict(first.step)]


class PairRepetition(RepetitionPromises):
    """A pair of repositories keeps no tokens: who repeats a write is told what is written now, and decides again."""

    def test_a_repeated_commit_is_recognised_and_done_once(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        assert isinstance(first, Committed)
        history = store.history(process.id)

        assert store.commit([started]) == [Conflict(first.step)]
        assert store.history(process.id) == history
