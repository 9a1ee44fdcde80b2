"""Late and lost steps are found whoever looks for them, however many look, and whatever is in their way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery
from kombu import Queue

from tests.support.cluster import ROOT, Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle, ProcessType, Step, Trellis, process_step
from trellis_celery.domain.identity import shard_of
from trellis_celery.services.timeouts import CheckReport, TimeoutCheckerService
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.keys import Keys
from trellis_celery.testing import RecordingRequeuer

pytestmark = pytest.mark.integration

#: trellis_worker_lost_ms, one interval of the check, and what a busy machine takes.
NOTICED_WITHIN_S = 1.5 + 1.0 + 2.5
#: Nobody else checks: a worker waits for three intervals before it does.
NOTICED_BY_WORKER_WITHIN_S = NOTICED_WITHIN_S + 3.0


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster("tests.support.apps.checking")


@pytest.fixture
def programs(cluster: Cluster) -> Iterator[None]:
    """What the test starts ends with it."""
    yield
    for program in cluster.programs:
        program.kill()


def send(cluster: Cluster, process_type: str, queue: str, *args: float) -> tuple[ProcessHandle, str]:
    process = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Check", aggregate_id=uuid4().hex
    )
    with process:
        sent = cluster.module.hang.apply_async(args, queue=queue)
    return process, sent.id


def attempt_of(process: ProcessHandle) -> int:
    return process.refresh().steps["work"].attempt


# Who checks


def default_beat(directory: Path) -> tuple[list[str], dict[str, str]]:
    return [], {}


def redbeat(directory: Path) -> tuple[list[str], dict[str, str]]:
    return ["-S", "redbeat.RedBeatScheduler"], {}


def django_beat(directory: Path) -> tuple[list[str], dict[str, str]]:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.support.apps.django_settings",
        "TRELLIS_TEST_SQLITE": str(directory / "beat.sqlite"),
    }
    migrate = [sys.executable, "-m", "django", "migrate", "-v", "0"]
    subprocess.run(migrate, env={**os.environ, **env, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    return ["-S", "django_celery_beat.schedulers:DatabaseScheduler"], env


@pytest.mark.fault("C9")
@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("scheduler", [default_beat, redbeat, django_beat], ids=lambda one: one.__name__)
def test_beat_has_the_check_run_every_interval(
    cluster: Cluster, tmp_path: Path, scheduler: Callable[[Path], tuple[list[str], dict[str, str]]]
) -> None:
    options, env = scheduler(tmp_path)
    cluster.worker(name=scheduler.__name__)
    checks: set[int] = set()
    before_ms = cluster.trellis.store.now_ms()

    cluster.beat(*options, name=f"beat-{scheduler.__name__}", env=env)

    def seen() -> int:
        last = cluster.trellis.store.last_check()
        checks.update({last.at_ms} if last.by.startswith("beat") and last.at_ms > before_ms else ())
        return len(checks)

    eventually(lambda: seen() >= 4, what="four checks by beat")
    gaps_ms = sorted(later - sooner for sooner, later in zip(sorted(checks), sorted(checks)[1:], strict=False))
    assert gaps_ms[0] > 200, "the schedule runs away"


@pytest.mark.fault("W3")
@pytest.mark.usefixtures("programs")
def test_a_worker_killed_with_9_is_noticed_in_its_lease_and_an_interval(cluster: Cluster) -> None:
    victim = cluster.worker("-Q", "victim", name="victim")
    cluster.worker(name="with-beat")
    cluster.beat(name="beat-kill")
    process, task_id = send(cluster, "Patient", "victim")
    cluster.diary.wait_for(f"ran {task_id}")

    victim.kill()
    killed_at = time.monotonic()

    eventually(lambda: attempt_of(process) == 2, what="second attempt")
    assert time.monotonic() - killed_at < NOTICED_WITHIN_S
    assert process.steps["work"].retry_count == 1


@pytest.mark.fault("C2")
@pytest.mark.usefixtures("programs")
def test_without_beat_any_worker_notices(cluster: Cluster) -> None:
    victim = cluster.worker("-Q", "victim", name="victim-2")
    cluster.worker(name="survivor")
    process, task_id = send(cluster, "Patient", "victim")
    cluster.diary.wait_for(f"ran {task_id}")

    victim.kill()
    killed_at = time.monotonic()

    eventually(lambda: attempt_of(process) == 2, what="second attempt")
    assert time.monotonic() - killed_at < NOTICED_BY_WORKER_WITHIN_S
    cluster.consume("victim", by="survivor")
    eventually(lambda: process.refresh().state == "completed", what="completed")


@pytest.mark.fault("C7")
@pytest.mark.usefixtures("programs")
def test_a_worker_whose_every_slot_hangs_behind_a_full_queue_still_checks(cluster: Cluster) -> None:
    cluster.worker("-Q", "hung,checking", name="hung", concurrency=1)
    process, task_id = send(cluster, "Hasty", "hung")
    cluster.diary.wait_for(f"ran {task_id}")
    others = [send(cluster, "Patient", "hung")[0] for _ in range(20)]
    cluster.beat(name="beat-hung")

    eventually(lambda: attempt_of(process) == 2, within_s=NOTICED_BY_WORKER_WITHIN_S, what="second attempt")
    assert cluster.trellis.store.last_check().by == "worker hung@test"
    assert all(attempt_of(other) == 1 for other in others)


@pytest.mark.fault("B2")
@pytest.mark.usefixtures("programs")
def test_a_purged_message_is_sent_again_and_counts_as_no_retry(cluster: Cluster) -> None:
    cluster.worker(name="purging")
    process, _ = send(cluster, "Patient", "purged", 0)
    with cluster.broker() as broker:
        assert broker.delete("purged") == 1

    eventually(lambda: EventKind.STEP_RESENT in [event.kind for event in process.history()], what="sent again")
    cluster.consume("purged", by="purging")

    eventually(lambda: process.refresh().state == "completed", what="completed")
    step = process.steps["work"]
    assert (step.attempt, step.retry_count) == (1, 0)


def test_beat_does_not_start_with_a_setting_that_makes_no_sense_and_says_which(tmp_path: Path) -> None:
    lines = (
        "from celery import Celery",
        "from trellis_celery import Trellis",
        "app = Celery('mistaken', broker='memory://')",
        "app.conf.trellis_check_interval = 5",
        "Trellis(app)",
    )
    (tmp_path / "mistaken.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "mistaken", "beat", "--pidfile="]
    beat = Program(command, name="beat", directory=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})

    status = beat.wait(within_s=15)

    assert status != 0
    assert "did you mean trellis_check_interval_ms?" in beat.output


# How many check, and what is in the way: no worker


class Batch(ProcessType):
    """Every step is late as soon as it has started."""

    a = Step(timeout_ms=1, retries_permitted=1)
    b = Step(timeout_ms=1, retries_permitted=1)
    c = Step(timeout_ms=1, retries_permitted=1)


class Waiting(ProcessType):
    """Due as soon as it is sent."""

    work = Step(timeout_ms=60_000, queue_timeout_ms=1, retries_permitted=1)


def do_nothing() -> None: ...


def new_app(redis_url: str, **settings: Any) -> Celery:
    """An app with a task for each step, of the step's name."""
    app = Celery("checks", broker=redis_url, set_as_current=False)
    app.conf.update(trellis_url=redis_url, **settings)
    Trellis(app)
    for step in (*Batch.declared_steps.values(), *Waiting.declared_steps.values()):
        process_step(step)(app.task(shared=False, name=step.name)(do_nothing))
    return app


def start(app: Celery, process_type: type[ProcessType], number: int = 0, queue: str = "good") -> ProcessHandle:
    process: ProcessHandle = app.trellis.start_process(
        process_type, tenant_id="tests", aggregate_type="Check", aggregate_id=str(number)
    )
    with process:
        for step in process.steps:
            app.send_task(step, queue=queue)
    return process


@pytest.mark.fault("C1")
def test_checkers_that_all_look_at_once_send_each_step_once(redis_url: str) -> None:
    app = new_app(redis_url)
    for number in range(100):
        process = start(app, Batch, number)
        for step in process.steps:
            app.trellis.processes.start_step(process.process, step)
    requeuers = [RecordingRequeuer() for _ in range(8)]
    gate = Barrier(len(requeuers))

    def check(requeuer: RecordingRequeuer) -> CheckReport:
        with redis.Redis.from_url(redis_url) as client:
            checker = TimeoutCheckerService(RedisStore(client), requeuer=requeuer, batch_size=50)
            gate.wait()
            return checker.check_for_timed_out_steps()

    with ThreadPoolExecutor(len(requeuers)) as pool:
        reports = list(pool.map(check, requeuers))

    sent = [(sending.process_id, sending.step.name, sending.step.attempt) for r in requeuers for sending in r.sent]
    assert len(sent) == len(set(sent)) == 300
    assert {attempt for _, _, attempt in sent} == {2}
    assert sum(report.retried for report in reports) == 300
    assert sum(report.failed for report in reports) == 0
    app.close()


def lose_the_queue(client: redis.Redis, keys: Keys, process_id: str) -> None:
    """The message is for a queue that the checker's app does not know."""


def make_the_queue_a_string(client: redis.Redis, keys: Keys, process_id: str) -> None:
    """The broker refuses every message for it."""
    client.delete("bad")
    client.set("bad", "foreign")


def damage_the_message(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.hset(keys.messages(process_id), "work", b"\xff not a message")


def damage_the_record(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.hset(keys.process(process_id), "s:work", b"[not a record")


def make_the_process_a_string(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.delete(keys.process(process_id))
    client.set(keys.process(process_id), "foreign")


def make_the_messages_a_string(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.delete(keys.messages(process_id))
    client.set(keys.messages(process_id), "foreign")


def make_the_log_a_string(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.delete(keys.log(process_id))
    client.set(keys.log(process_id), "foreign")


def delete_the_process(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.delete(keys.process(process_id))


def add_a_foreign_entry(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.zadd(keys.deadlines(shard_of(process_id)), {b"\xff\x00 not ours": 1, "neither|this": 2})


def make_an_index_a_string(client: redis.Redis, keys: Keys, process_id: str) -> None:
    client.set(keys.leases(shard_of(process_id)), "foreign")


HARM = [
    lose_the_queue,
    make_the_queue_a_string,
    damage_the_message,
    damage_the_record,
    make_the_process_a_string,
    make_the_messages_a_string,
    make_the_log_a_string,
    delete_the_process,
    add_a_foreign_entry,
    make_an_index_a_string,
]

#: Where the message that is harmed was sent, if not with the others.
QUEUES = {lose_the_queue: "gone", make_the_queue_a_string: "bad"}


@pytest.mark.fault("S8", "C6")
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_one_poisoned_step_does_not_stop_the_others(
    redis_url: str, harm: Callable[[redis.Redis, Keys, str], object]
) -> None:
    sender = new_app(redis_url)
    checker = new_app(redis_url, task_create_missing_queues=False, task_queues=[Queue("good"), Queue("bad")])
    poisoned = start(sender, Waiting, 0, queue=QUEUES.get(harm, "good"))
    with redis.Redis.from_url(redis_url) as client:
        harm(client, Keys("trellis"), poisoned.id)
        started = [start(sender, Waiting, number) for number in range(1, 40)]
        spoiled = shard_of(poisoned.id) if harm is make_an_index_a_string else None
        others = [other for other in started if shard_of(other.id) != spoiled]
        sent_before = client.llen("good")
        time.sleep(0.01)

        checker.trellis.timeouts.check_for_timed_out_steps()

        assert all(EventKind.STEP_RESENT in [event.kind for event in other.history()] for other in others)
        assert client.llen("good") >= sent_before + len(others)
    for app in (sender, checker):
        app.close()


@pytest.mark.fault("C6")
def test_however_many_messages_the_broker_refuses_those_behind_them_are_sent(redis_url: str) -> None:
    app = new_app(redis_url)
    for number in range(5):
        start(app, Waiting, number, queue="bad")
    others = [start(app, Waiting, number) for number in range(5, 10)]
    with redis.Redis.from_url(redis_url) as client:
        client.delete("bad")
        client.set("bad", "foreign")
    time.sleep(0.01)

    report = app.trellis.timeouts.check_for_timed_out_steps()

    assert (report.resent, report.failed) == (5, 5)
    assert all(EventKind.STEP_RESENT in [event.kind for event in other.history()] for other in others)
    app.close()
