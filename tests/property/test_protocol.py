"""Whatever fails and in whatever order things happen, what trellis promises of a step holds.

Hypothesis writes the stories: who sends, runs, dies, checks and retries, and which call to the store is not done, done
and not answered, done twice or overtaken. ``TRELLIS_PROPERTY_EXAMPLES=2000`` makes more of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
import redis
from celery.exceptions import Ignore
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.property import promises
from tests.property.faults import Fault, injected
from tests.property.simulated_redis import SimulatedRedisStore
from tests.property.world import WORKER_LOST_MS, World
from trellis_celery.domain import outcomes, transitions
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin.run import Run
from trellis_celery.ports import ProcessStore, StepKey
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

EXAMPLES = int(os.environ.get("TRELLIS_PROPERTY_EXAMPLES", "60"))
STEPS = int(os.environ.get("TRELLIS_PROPERTY_STEPS", "40"))

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

KINDS_OF_STEPS = st.sampled_from(
    [
        ProcessStep("timed", timeout_ms=1_000, retries_permitted=2, queue_timeout_ms=3_000),
        ProcessStep("backs off", timeout_ms=1_500, retries_permitted=1, backoff_ms=700, queue_timeout_ms=2_000),
        ProcessStep("once", timeout_ms=2_000, queue_timeout_ms=2_000),
        ProcessStep("as long as it likes", retries_permitted=1, queue_timeout_ms=2_500),
        ProcessStep("alerts", timeout_ms=1_000, retries_permitted=1, on_timeout="alert", queue_timeout_ms=2_000),
        ProcessStep("external", timeout_ms=4_000, external=True),
    ]
)

#: Which calls of an operation go wrong, and how. Mostly none.
PLANS = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from([0, 0, 1, 2, 3, 4]), st.sampled_from(Fault), min_size=1, max_size=2),
)
ANY = st.integers(0, 999)
Plan = dict[int, Fault]

#: How a run ends that is neither completed nor retried.
OUTCOMES: list[Callable[[Run], None]] = [
    lambda run: run.fail("ValueError"),
    lambda run: run.cancel("the task raised Ignore"),
    lambda run: run.release(resend_in_ms=transitions.HANDOFF_MS),
    Run.hand_over,
    lambda run: run.lose("the run ended without an outcome"),
    lambda run: None,  # killed
]
#: What a worker's main process tells of an attempt that its child ran.
TOLD_BY_THE_WORKER = [
    partial(outcomes.lose, reason="WorkerLostError"),
    partial(outcomes.fail, error="the child raised"),
    lambda step, *, attempt, run_id, now_ms: outcomes.cancel(step, now_ms=now_ms),
]
BY_HAND = ["start", "complete", "fail", "cancel", "retry", "close"]
WAITS_MS = [1, 500, 999, 1_000, 2_000, WORKER_LOST_MS, 11_000, 100_000]

#: What happens next, by the name of a method and how often. One rule for all of it, because Hypothesis leaves out
#: half of the rules in each story, and without deliveries or checks there is not much of a story.
EVENTS = Counter(
    deliver=6, check=5, wait=4, complete=3, end=3, claim_finish=2, retry=2, send=2, renew=2, heartbeat=1,
    worker_tells=1, kill_before_the_start=1, throw_away=1, lose_message=1, by_hand=1, reopen=2, start_again=1, relay=2,
)  # fmt: skip

NEEDS_A_MESSAGE = ("deliver", "lose_message", "throw_away", "kill_before_the_start")
NEEDS_A_RUN = ("claim_finish", "complete", "end", "retry", "worker_tells", "heartbeat")

examples = 0


class Protocol(RuleBasedStateMachine):
    def __init__(self, open_store: Callable[[ManualClock], ProcessStore]) -> None:
        super().__init__()
        global examples  # noqa: PLW0603
        examples += 1
        self.clock = ManualClock()
        self.store = open_store(self.clock)
        self.seen: dict[StepKey, ProcessStep] = {}

    @initialize(
        steps=st.lists(KINDS_OF_STEPS, min_size=1, max_size=3, unique_by=lambda step: step.name),
        plans=st.lists(PLANS, min_size=3, max_size=3),
    )
    def begin(self, steps: list[ProcessStep], plans: list[Plan]) -> None:
        self.world = World(self.store, self.clock, steps)
        self.world.start_process()
        for number in range(len(steps)):
            self.send(0, number, plans[number])

    @rule(event=st.sampled_from(sorted(EVENTS.elements())), which=ANY, how=ANY, plan=PLANS)
    def happens(self, event: str, which: int, how: int, plan: Plan) -> None:
        if event in NEEDS_A_RUN and not self.world.running:
            event = "deliver"
        if event in NEEDS_A_MESSAGE and not self.world.queue:
            event = "check"
        getattr(self, event)(which, how, plan)

    # Publishers and the broker

    def start_again(self, _which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.start_process()

    def send(self, which: int, how: int, plan: Plan) -> None:
        process = self.world.processes[-1 - which % min(2, len(self.world.processes))]
        step = process.step(list(process.steps)[how % len(process.steps)])
        if step.external:
            return
        guess = self.store.load(process.id).step(step.name) if how & 8 else step
        with self.world.faults(plan):
            self.world.send(process, guess, digest="ab"[how >> 4 & 1], is_strict=bool(how & 32))

    def deliver(self, which: int, how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.deliver(which % len(self.world.queue), keep=how % 3 == 2, with_lease=how % 4 < 3)

    def lose_message(self, which: int, _how: int, _plan: Plan) -> None:
        del self.world.queue[which % len(self.world.queue)]

    # Workers

    def claim_finish(self, which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan), suppress(Ignore):
            self.world.claim_finish(which % len(self.world.running))

    def complete(self, which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan), suppress(Ignore):
            self.world.complete(which % len(self.world.running))

    def end(self, which: int, how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.end(which % len(self.world.running), OUTCOMES[how % len(OUTCOMES)])

    def retry(self, which: int, how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.retry(which % len(self.world.running), delay_ms=5_000 * (how % 2))

    def worker_tells(self, which: int, how: int, plan: Plan) -> None:
        rule = TOLD_BY_THE_WORKER[how % len(TOLD_BY_THE_WORKER)]
        with self.world.faults(plan):
            self.world.lose(which % len(self.world.running), rule=rule)

    def kill_before_the_start(self, which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.kill_before_the_start(which % len(self.world.queue))

    def throw_away(self, which: int, how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.throw_away(which % len(self.world.queue), is_lost=bool(how % 2))

    def heartbeat(self, which: int, _how: int, plan: Plan) -> None:
        run = self.world.running[which % len(self.world.running)]
        with self.world.faults(plan):
            run.heartbeat(extend_ms=3_000)

    def renew(self, _which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.renew()

    # Time, checkers and people

    def wait(self, which: int, _how: int, _plan: Plan) -> None:
        self.clock.advance(WAITS_MS[which % len(WAITS_MS)])

    def check(self, which: int, how: int, plan: Plan) -> None:
        self.clock.advance(1_000 * (which % 2))
        self.world.with_handler = how % 5 > 0
        with self.world.faults(plan):
            self.world.check()
        self.world.with_handler = True

    def relay(self, _which: int, _how: int, plan: Plan) -> None:
        with self.world.faults(plan):
            self.world.relay()

    def by_hand(self, which: int, how: int, plan: Plan) -> None:
        self._act_by_hand(BY_HAND[how // 8 % len(BY_HAND)], which, how, plan)

    def reopen(self, which: int, how: int, plan: Plan) -> None:
        self._act_by_hand("retry", which, how, plan)

    def _act_by_hand(self, action: str, which: int, how: int, plan: Plan) -> None:
        process = self.world.processes[which % len(self.world.processes)]
        with self.world.faults(plan):
            self.world.by_hand(process, list(process.steps)[how % len(process.steps)], action)

    # Promises

    @invariant()
    def every_promise_holds(self) -> None:
        if not hasattr(self, "world"):
            return
        pictures = [
            promises.Picture(self.store.load(known.id), self.store.history(known.id), self.world.untracked)
            for known in self.world.processes
        ]
        for picture in pictures:
            process = picture.process
            promises.check_process(self.store, picture)
            for name, step in process.steps.items():
                key = StepKey(process.id, name)
                promises.check_succession(self.seen.get(key, step), step)
                self.seen[key] = step
            if isinstance(self.store, SimulatedRedisStore):
                promises.check_redis(self.store._client, self.store.prefix, process)
            promises.check_heard(picture, self.world.heard.get(process.id, []))
        promises.check_totals(self.store, pictures)
        promises.check_clocks(self.store, pictures)
        promises.check_business_key(self.store, pictures)
        for event in self.world.told:
            assert event.retry_count <= event.retries_permitted

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.come_to_rest()
            self.every_promise_holds()
            processes = [self.store.load(process.id) for process in self.world.processes]
            promises.check_listing(self.store, processes)
            for process in processes:
                heard = {number for number, _ in self.world.heard[process.id]}
                assert len(heard) == len(self.store.history(process.id)), "an event was never relayed"
            for step in (step for process in processes for step in process.steps.values()):
                promises.check_at_rest(step)
        if isinstance(self.store, SimulatedRedisStore):
            self.store.forget()


@pytest.fixture(autouse=True)
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Say how much was tried."""
    global examples  # noqa: PLW0603
    examples = 0
    injected.clear()
    yield
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(injected.items()))
    with capsys.disabled():
        print(f"\n{examples} stories, {injected.total()} faults ({kinds})")


@pytest.mark.timeout(3_600)
def test_every_promise_holds_whatever_fails_over_memory() -> None:
    run_state_machine_as_test(partial(Protocol, lambda clock: MemoryStore(clock=clock)), settings=SETTINGS)


@pytest.mark.timeout(3_600)
def test_every_promise_holds_whatever_fails_over_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        run_state_machine_as_test(partial(Protocol, partial(SimulatedRedisStore, client)), settings=SETTINGS)
