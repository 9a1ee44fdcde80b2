"""What a pair of repositories promises when two work on one process: between any two calls of one, the other's all."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import OWN_ENDS, OWN_RECORD, Process
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.ports import Committed, ProcessStore
from trellis_celery.repositories import ProcessRepository, StepTrackerRepository
from trellis_celery.testing.contract import pair_scenes as scenes
from trellis_celery.testing.contract.builders import cancel, complete, complete_after_all, reopen
from trellis_celery.testing.contract.pair_scenes import Act, Pair, Prepare, Wire

ACTS: dict[str, Act] = {
    "complete": scenes.committing(complete()),
    "complete another": scenes.committing(complete(), "other"),
    "cancel another": scenes.committing(cancel(), "other"),
    "reopen": scenes.committing(reopen()),
    "complete after all": scenes.committing(complete_after_all()),
    "be late": scenes.late,
    "go on": scenes.go_on,
    "be overdue": scenes.overdue,
    "archive": scenes.archive,
    "purge": scenes.purge,
    "delete": scenes.delete,
    "succeed": scenes.succeed,
    "check": scenes.check,
}
SCENES: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "live": (
        scenes.started,
        ("complete", "complete another", "cancel another", "be overdue", "go on", "delete", "succeed", "check"),
    ),
    "almost finished": (
        scenes.almost_finished,
        ("complete", "be overdue", "go on", "delete", "purge", "succeed", "check"),
    ),
    "unnoticed": (scenes.finished_unnoticed, ("archive", "purge", "delete", "succeed", "check")),
    "archived": (
        scenes.archived,
        (
            "reopen",
            "complete after all",
            "be late",
            "go on",
            "complete another",
            "be overdue",
            "archive",
            "purge",
            "delete",
            "succeed",
            "check",
        ),
    ),
}


class PairRacePromises:
    #: Whether who comes between is also killed at each of its writes. A slow pair may leave that to a fast one.
    rivals_crash = True

    @pytest.mark.parametrize(
        ("scene", "first"), [(scene, first) for scene, (_, names) in SCENES.items() for first in names]
    )
    def test_nothing_is_lost_or_counted_twice_whatever_comes_between_two_calls(
        self, processes: ProcessRepository, trackers: StepTrackerRepository, scene: str, first: str
    ) -> None:
        pair, (prepare, names) = Pair(processes, trackers), SCENES[scene]
        calls = scenes.counted(pair, prepare, ACTS[first]).calls

        for second in names:
            writes = scenes.counted(pair, prepare, ACTS[second]).writes if self.rivals_crash else 0
            for call, write in product(range(1, calls + 1), range(writes + 1)):
                process = prepare(pair)
                rival = _Rival(pair, process, ACTS[second], crashes_after=write)
                ours = ACTS[first](pair.store(Wire(before_call={call: rival.act})), process)
                pair.check()

                _assert_coherent(pair, process)
                _assert_kept(
                    pair, process, [ours, rival.outcome], may_be_gone={first, second} & {"delete", "purge"} != set()
                )
                is_purged = ours is True and ACTS[first] is scenes.purge
                assert not (is_purged and rival.has_reopened), "a reopened step went with its finished process"
                pair.clear(process)


class _Rival(Struct):
    """Works on the same process at the same time, and may be killed on the way."""

    pair: Pair
    process: Process
    what: Act
    #: The number of its last write; 0: it comes to its end.
    crashes_after: int
    outcome: object = None
    #: The process was seen to be live after what it had done.
    has_reopened: bool = False

    def act(self) -> None:
        was_finished = self._is_finished()
        with scenes.interrupted(self.pair, self.crashes_after, scenes.after) as store:
            self.outcome = self.what(store, self.process)
        self.has_reopened = was_finished and not self._is_finished()

    def _is_finished(self) -> bool:
        """Whether it is finished or gone."""
        try:
            return self.pair.store().load(self.process.id).state.is_terminal
        except errors.ProcessNotFound:
            return True


def _assert_coherent(pair: Pair, process: Process) -> None:
    """All that is seen of the process tells one story."""
    picture, store = pair.picture(process), pair.store()
    assert picture["left over"] == []
    try:
        loaded = store.load(process.id)
    except errors.ProcessNotFound:
        nothing: dict[str, Any] = {what: [] for what in picture}
        assert picture == nothing | {"records": None, "is found": False, "messages": [None, None]}
        return
    state = loaded.state
    (summary,) = (
        each for each in store.list_processes(ProcessFilter(aggregate_id=process.aggregate_id)) if each.id == process.id
    )
    assert summary == ProcessSummary.of(loaded)
    assert picture["listed"] == [state]
    assert len(picture["finished"]) == state.is_terminal
    assert picture["is found"] == (not state.is_terminal and store.find(process.key) == process.id)
    assert state.is_terminal or store.find(process.key) is not None
    records = (loaded.own, *loaded.steps.values())
    changes = [kind for _, kind in picture["history"] if kind not in OWN_ENDS]
    # One entry for each change, and a further one for what was completed after all.
    assert len(changes) == 1 + sum(record.version - 1 for record in records) + _completed_after_all(store, process)


def _completed_after_all(store: ProcessStore, process: Process) -> int:
    """In these scenes nobody completes what somebody else has reopened."""
    history = store.history(process.id)
    reopened = {(event.step_name, event.attempt) for event in history if event.kind is EventKind.STEP_REOPENED}
    completed = {(event.step_name, event.attempt) for event in history if event.kind is EventKind.STEP_COMPLETED}
    return len(reopened & completed)


def _assert_kept(pair: Pair, process: Process, outcomes: list[object], *, may_be_gone: bool) -> None:
    """Who was told that something was written finds it; a process that somebody was told is deleted is not there."""
    committed = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    finishing = [each for each in committed if each.state_after.is_terminal and not each.state_before.is_terminal]
    assert len(finishing) <= 1
    try:
        loaded = pair.store().load(process.id)
    except errors.ProcessNotFound:
        assert may_be_gone
        return
    assert True not in outcomes
    for each in committed:
        record = loaded.own if each.step.name == OWN_RECORD else loaded.steps[each.step.name]
        assert record.version >= each.step.version
