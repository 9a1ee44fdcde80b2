"""Programs of two releases check one store: during an upgrade, or because one was forgotten."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.other_release import Edit, OtherRelease
from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import StepKey
from trellis_celery.services.timeouts import QUARANTINE_MS, TimeoutCheckerService
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing import RecordingRequeuer
from trellis_celery.testing.contract import builders

pytestmark = [pytest.mark.integration, pytest.mark.fault("C8")]

#: A field more at the end of every record, which says so, and scripts that are not the same.
_LAST_FIELD = "    traceparent: str | None = None\n"
NEWER = (
    Edit("domain/step.py", f"{_LAST_FIELD}    #", f'{_LAST_FIELD}    colour: str = "green"\n    #'),
    Edit("stores/codec.py", _LAST_FIELD, f'{_LAST_FIELD}    colour: str = "green"\n'),
    Edit("stores/redis/lua/commit.lua", "-- Write", "-- Of the release after this one.\n-- Write"),
)
#: Records that only it can read.
MUCH_NEWER = (Edit("stores/codec.py", "\nFORMAT = 1\n", "\nFORMAT = 2\n"),)

#: Checks until nothing is due; prints what it has sent again.
CHECK = """
import json, sys
import redis
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing import RecordingRequeuer

with redis.Redis.from_url(sys.argv[1]) as client:
    store, requeuer = RedisStore(client), RecordingRequeuer()
    checker = TimeoutCheckerService(store, requeuer=requeuer, batch_size=10, budget_ms=1)
    print("ready", flush=True)
    sys.stdin.readline() if "wait" in sys.argv else None
    while store.due(now_ms=store.now_ms(), limit=1):
        checker.check_for_timed_out_steps()
    print(json.dumps([(one.process_id, one.step.attempt) for one in requeuer.sent]))
"""

#: Stores a late step; prints the process.
MAKE_LATE = """
import json, sys
import redis
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders

with redis.Redis.from_url(sys.argv[1]) as client:
    store = RedisStore(client)
    process = builders.created(store, ProcessStep("step", timeout_ms=1, retries_permitted=2))
    builders.apply(store, process, builders.queue(at_ms=store.now_ms()), message=b"message")
    builders.apply(store, process, builders.start(at_ms=store.now_ms() - 1_000))
    print(json.dumps(process.id))
"""


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with redis.Redis.from_url(redis_url) as client:
        yield RedisStore(client)


def late(store: RedisStore, number: int) -> list[Process]:
    """Processes whose step has run out of time."""
    processes = []
    for _ in range(number):
        process = builders.created(store, ProcessStep("step", timeout_ms=1, retries_permitted=2))
        builders.apply(store, process, builders.queue(at_ms=store.now_ms()), message=b"message")
        builders.apply(store, process, builders.start(at_ms=store.now_ms() - 1_000))
        processes.append(process)
    return processes


def sent_by(output: str) -> list[tuple[str, int]]:
    return [(process_id, attempt) for process_id, attempt in json.loads(output.splitlines()[-1])]


def test_c8_a_newer_and_an_older_release_check_side_by_side_and_each_attempt_is_sent_once(
    store: RedisStore, redis_url: str, tmp_path: Path
) -> None:
    releases = [OtherRelease(tmp_path / "older", ()), OtherRelease(tmp_path / "newer", NEWER)]
    processes = late(store, 300)

    checkers = [release.start(CHECK, redis_url, "wait") for release in releases]

    assert [checker.line() for checker in checkers] == ["ready"] * 2
    for checker in checkers:
        checker.tell("go")
    outputs = [sent_by(checker.end()) for checker in checkers]
    assert all(outputs), "one of them has done nothing"
    sent = Counter(each for output in outputs for each in output)
    assert sent == Counter({(process.id, 2): 1 for process in processes})


def test_c8_what_one_release_wrote_the_other_takes_further(store: RedisStore, redis_url: str, tmp_path: Path) -> None:
    newer = OtherRelease(tmp_path, NEWER)
    (process,) = late(store, 1)

    assert sent_by(newer.run(CHECK, redis_url)) == [(process.id, 2)]

    process.steps["step"] = builders.loaded_step(store, process)
    builders.apply(store, process, builders.start(at_ms=store.now_ms() - 1_000, attempt=2))
    requeuer = RecordingRequeuer()
    TimeoutCheckerService(store, requeuer=requeuer).check_for_timed_out_steps()
    assert [sending.step.attempt for sending in requeuer.sent] == [3]


def test_c8_a_record_that_an_older_release_cannot_read_is_left_alone_and_the_newer_finds_it_late(
    store: RedisStore, redis_url: str, tmp_path: Path
) -> None:
    much_newer = OtherRelease(tmp_path, MUCH_NEWER)
    ours = late(store, 5)
    theirs = json.loads(much_newer.run(MAKE_LATE, redis_url))
    before = store.load_messages([StepKey(theirs, "step")])
    requeuer = RecordingRequeuer()

    report = TimeoutCheckerService(store, requeuer=requeuer).check_for_timed_out_steps()

    assert (report.retried, report.failed) == (5, 1)
    assert {sending.process_id for sending in requeuer.sent} == {process.id for process in ours}
    (record,) = store.load_steps([StepKey(theirs, "step")])
    assert isinstance(record, errors.CorruptRecord)
    assert "format 2 is not known to this release" in str(record)
    assert store.load_messages([StepKey(theirs, "step")]) == before
    soon = store.due(now_ms=store.now_ms() + QUARANTINE_MS, limit=10)
    assert [due.key.process_id for due in soon] == [theirs], "who can read it does not find it again"
