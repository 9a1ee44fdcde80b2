"""Who says how it went: the ledger of the bodies against what trellis has written down."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import quantiles

from tests.chaos.ledger import Run
from tests.chaos.nemesis import Cut
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import StepState

#: An order and a step of it, as the ledger names them.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was promised, counted. Each of the lists of keys has to be empty."""

    steps: int
    completed: int
    given_up: int
    #: Accepted, and neither completed nor given up.
    lost: list[Key]
    #: Completed more often than once, by the log.
    twice: list[Key]
    #: Completed by the log, though no body came to its end.
    unproven: list[Key]
    #: Attempts that started more often than once, or were more than are permitted.
    too_many_attempts: list[Key]
    #: Bodies that ran without trellis knowing of them.
    untracked: list[Key]
    runs: int
    #: Attempts of which more than one body began: while the store was away, nobody could be asked.
    repeated_attempts: int
    #: Bodies that came to their end more often than once: the side effects that nobody can promise away.
    repeated_bodies: int
    #: Pairs of runs of one step that ran at the same time.
    overlaps: int
    most_attempts: int
    #: Seconds from the end of a run that was cut off to the start of the next one.
    detection_s: list[float]
    #: Events of the processes' logs, by kind.
    events: dict[str, int]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.unproven or self.too_many_attempts or self.untracked)

    def detection(self, percent: int) -> float | None:
        """A percentile of the times that it took until a run that was cut off was replaced."""
        if len(self.detection_s) < 2:
            return None
        return round(quantiles(self.detection_s, n=100, method="inclusive")[percent - 1], 2)


def judge(
    processes: Iterable[tuple[str, Process, Sequence[Event]]], *, runs: Sequence[Run], cuts: Sequence[Cut]
) -> Verdict:
    """`processes`: of each that was accepted the order's id, the process and its log."""
    by_step: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        by_step[run.order_id, run.step].append(run)
    lost, twice, unproven, too_many = [], [], [], []
    states: Counter[StepState] = Counter()
    kinds: Counter[str] = Counter()
    most = 0
    for order_id, process, log in processes:
        kinds.update(event.kind.value for event in log)
        for step in process.steps.values():
            key, of_step = (order_id, step.name), [event for event in log if event.step_name == step.name]
            completions = sum(event.kind is EventKind.STEP_COMPLETED for event in of_step)
            starts = Counter(event.attempt for event in of_step if event.kind is EventKind.STEP_STARTED)
            states[step.state] += 1
            most = max(most, step.attempt)
            if not (step.state is StepState.COMPLETED or EventKind.STEP_GAVE_UP in {event.kind for event in of_step}):
                lost.append(key)
            if completions > 1:
                twice.append(key)
            if completions and not any(run.ended_s for run in by_step[key]):
                unproven.append(key)
            if step.attempt > 1 + step.retries_permitted or max(starts.values(), default=0) > 1:
                too_many.append(key)
    ended = Counter((run.order_id, run.step) for run in runs if run.ended_s is not None)
    began = Counter((run.order_id, run.step, run.attempt) for run in runs)
    return Verdict(
        steps=states.total(),
        completed=states[StepState.COMPLETED],
        given_up=states[StepState.FAILED],
        lost=lost,
        twice=twice,
        unproven=unproven,
        too_many_attempts=too_many,
        untracked=[(run.order_id, run.step) for run in runs if run.attempt == 0],
        runs=len(runs),
        repeated_attempts=sum(count > 1 for count in began.values()),
        repeated_bodies=sum(count > 1 for count in ended.values()),
        overlaps=sum(_overlap(*pair) for of_step in by_step.values() for pair in combinations(of_step, 2)),
        most_attempts=most,
        detection_s=sorted(_detections(by_step, cuts)),
        events=dict(sorted(kinds.items())),
    )


def _overlap(one: Run, other: Run) -> bool:
    """Whether both are known to have run at some moment. One that was cut off ended nobody knows when."""
    if one.ended_s is None or other.ended_s is None:
        return False
    return one.began_s < other.ended_s and other.began_s < one.ended_s


def _detections(by_step: dict[Key, list[Run]], cuts: Sequence[Cut]) -> Iterator[float]:
    for of_step in by_step.values():
        for run, following in pairwise(of_step):
            cut = next((cut for cut in cuts if run.pid in cut.pids and cut.at_s >= run.began_s), None)
            if cut is not None and run.ended_s is None and following.began_s > cut.at_s:
                yield following.began_s - cut.at_s
