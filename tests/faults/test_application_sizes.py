"""Arguments of megabytes, and processes of as many steps as there may be."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.domain.process import MAX_STEPS
from trellis_celery.ports import StepKey

MEBIBYTE = 2**20
#: Other clients of the server wait for as long as a script runs.
SLOW_US = 250_000


class Parcel(ProcessType):
    weigh = Step(timeout_ms=60_000, queue_timeout_ms=1)


Long = type("Long", (ProcessType,), {f"step_{number}": Step(timeout_ms=60_000) for number in range(MAX_STEPS)})


@pytest.fixture
def trellis(redis_url: str) -> Iterator[Trellis]:
    app = Celery("sizes", broker=redis_url, set_as_current=False)
    app.conf.trellis_url = redis_url

    @process_step(Parcel.weigh)
    @app.task(name="sizes.weigh", shared=False)
    def weigh(content: str) -> None: ...

    yield Trellis(app)
    app.close()


@pytest.fixture
def slow_commands(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the server, which notes whatever takes it too long."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("slowlog-log-slower-than")
        client.config_set("slowlog-log-slower-than", SLOW_US)
        client.slowlog_reset()
        yield client
        client.config_set("slowlog-log-slower-than", before["slowlog-log-slower-than"])


@pytest.mark.fault("A8")
def test_a8_arguments_of_megabytes_are_sent_again_as_they_were(trellis: Trellis, slow_commands: redis.Redis) -> None:
    process = trellis.start_process(Parcel, tenant_id="t", aggregate_type="A", aggregate_id="1")
    with process:
        trellis.app.send_task("sizes.weigh", ("x" * 20 * MEBIBYTE,))
    (sent,) = slow_commands.lrange("celery", 0, -1)
    slow_commands.delete("celery")

    eventually(lambda: trellis.timeouts.check_for_timed_out_steps().resent, what="sent again")

    (again,) = slow_commands.lrange("celery", 0, -1)
    assert without_header(again) == without_header(sent)
    arguments, _, _ = json.loads(b64decode(json.loads(again)["body"]))
    assert arguments == ["x" * 20 * MEBIBYTE]
    process.cancel()
    assert trellis.store.load_messages([StepKey(process.id, "weigh")]) == [None]
    assert slow_commands.slowlog_get() == []


def without_header(message: bytes | str) -> dict[str, Any]:
    """The whole message, but for our header and what the transport numbers."""
    content: dict[str, Any] = json.loads(message)
    for headers in (content["headers"], content["headers"].setdefault("headers", {})):
        headers.pop("trellis", None)
    del content["properties"]["delivery_tag"]
    return content


@pytest.mark.fault("A8")
def test_a8_no_command_of_a_process_of_ten_thousand_steps_is_slow(trellis: Trellis, slow_commands: redis.Redis) -> None:
    process = trellis.start_process(Long, tenant_id="t", aggregate_type="A", aggregate_id="1")

    process.complete_step("step_7")
    process.fail_step("step_8", "no")
    trellis.timeouts.check_for_timed_out_steps()
    again = trellis.get_process(process.id)

    assert len(again.steps) == MAX_STEPS
    assert (again.state, again.steps["step_7"].state) == ("failed", "completed")
    assert len(again.history()) == 4
    assert trellis.store.delete(process.id)
    assert slow_commands.slowlog_get() == []
