from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.app.trace import trace_task
from kombu import serialization
from kombu.compression import decompress
from kombu.exceptions import OperationalError

from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.plugin import headers, message
from trellis_celery.plugin.headers import read
from trellis_celery.ports import StepKey
from trellis_celery.stores.memory import MemoryStore


class Intake(ProcessType):
    check = Step()


def headers_sent_with(task_name: str) -> list[headers.Header | None]:
    """The headers of this task's messages from now on."""
    sent: list[headers.Header | None] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        sent.append(read(headers))

    signals.after_task_publish.connect(note, sender=task_name, weak=False)
    return sent


def test_headers_that_the_caller_gives_are_not_written_to() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None: ...

    given: dict[str, Any] = {"x-request": "1", "headers": {"sentry-trace": "2"}}
    before = copy.deepcopy(given)

    with process:
        check.apply_async(headers=given)

    assert given == before
    assert process.steps["check"].task_id is not None


@pytest.fixture
def encoded() -> Iterator[list[Any]]:
    """What a serializer of the name "noting" was given."""
    given: list[Any] = []

    def encode(data: Any) -> bytes:
        given.append(data)
        return pickle.dumps(data)

    serialization.register("noting", encode, pickle.loads, content_type="application/x-noting")
    yield given
    serialization.unregister("noting")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_message_is_encoded_once_and_goes_out_as_it_is_stored(encoded: list[Any], compression: str | None) -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.update(trellis_url="memory://", task_default_queue=f"noting-{compression}")
    trellis = Trellis(app)
    process = trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="3")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check(letter: str) -> None: ...

    with process:
        check.apply_async(("A" * 1_000,), serializer="noting", compression=compression)

    (data,) = trellis.store.load_messages([StepKey(process.id, "check")])
    stored = message.load(data or b"")
    with app.connection_for_read() as connection:
        sent = connection.default_channel.basic_get(f"noting-{compression}")
    kind = sent.headers.get("compression")
    assert (kind is None) == (compression is None)
    assert sent.body == (decompress(stored.body, kind) if kind else stored.body), "kombu shows it decompressed, once"
    assert sent.content_type == stored.content_type
    assert len([data for data in encoded if len(data) == 3]) == 1, "the other is of the arguments alone, for a digest"


def test_the_next_task_of_a_chain_may_be_one_that_only_another_worker_knows() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="2")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None:
        app.send_task("elsewhere")

    header = headers.of_step(process.id, "Intake", process.steps["check"], task_id="task-1")
    sent = headers_sent_with("elsewhere")

    check.apply(task_id="task-1", headers={headers.NAME: header.to_wire()})

    (found,) = sent
    assert found is not None
    assert (found.process_id, found.may_claim, found.is_for("task-1")) == (process.id, True, True)


def test_what_is_sent_by_a_task_that_a_step_applies_belongs_to_the_process() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="4")

    @app.task(shared=False, name="helper")
    def helper() -> None:
        app.send_task("further")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None:
        helper.apply()

    header = headers.of_step(process.id, "Intake", process.steps["check"], task_id="task-1")
    sent = headers_sent_with("further")

    check.apply(task_id="task-1", headers={headers.NAME: header.to_wire()})

    (found,) = sent
    assert found is not None
    assert found.process_id == process.id


def test_every_further_call_of_a_task_that_sends_itself_is_an_ordinary_one() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="5")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None:
        check.delay()

    sent = headers_sent_with("check")

    with process:
        check.apply_async(task_id="1")
    for task_id in "12":  # as a worker runs the first of them, and the one that it has sent
        assert sent[-1] is not None
        received = {"id": task_id, "task": "check", "delivery_info": {}, headers.NAME: sent[-1].to_wire()}
        trace_task(check, task_id, (), {}, received, app=app)

    step_names = [header and header.step_name for header in sent]
    assert step_names == ["check", None, None]
    assert {header and header.process_id for header in sent} == {process.id}


def test_a_task_of_another_app_belongs_to_no_process_of_this_one() -> None:
    apps = [Celery("publishing", broker="memory://", set_as_current=False) for _ in "ab"]
    for app in apps:
        app.conf.update(trellis_url="memory://", trellis_strict=True)
        Trellis(app)

        @process_step(Intake.check)
        @app.task(shared=False, name="check")
        def check() -> None: ...

    here, elsewhere = apps
    process = here.trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="6")
    other = elsewhere.trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="6")
    sent = headers_sent_with("check")

    @here.task(shared=False)
    def of_the_process() -> None:
        elsewhere.send_task("check")

    with process:
        elsewhere.send_task("check")
    with other, process:
        elsewhere.send_task("check")
        here.send_task("check")
    of_process = headers.of_step(process.id, "Intake", process.steps["check"]).without_step().to_wire()
    received = {"id": "1", "task": of_the_process.name, "delivery_info": {}, headers.NAME: of_process}
    trace_task(of_the_process, "1", (), {}, received, app=here)

    assert [header and header.process_id for header in sent] == [None, other.id, process.id, None]


@pytest.fixture
def cut_off() -> Iterator[Celery]:
    """An app whose broker is away."""
    app = Celery("publishing", broker="redis://localhost:1/0", set_as_current=False)
    app.conf.update(
        trellis_url="memory://",
        task_publish_retry=False,
        broker_transport_options={"max_retries": 1, "interval_start": 0, "interval_step": 0},
    )
    Trellis(app)
    yield app
    app.close()


def test_what_could_not_be_published_is_not_sent_later_and_may_be_sent_again(cut_off: Celery) -> None:
    trellis: Trellis = cut_off.trellis
    process = trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="7")

    @process_step(Intake.check)
    @cut_off.task(shared=False, name="check")
    def check() -> None: ...

    with process:
        for task_id in "12":
            with pytest.raises(OperationalError):
                check.apply_async(task_id=task_id)

    step = process.refresh().steps["check"]
    assert (process.state, step.task_id, step.deadline_ms) == ("pending", None, None)
    assert (step.last_error or "").startswith("not sent: OperationalError")
    kinds = [event.kind for event in process.history()]
    assert kinds == ["process_started", *("step_queued", "step_withdrawn") * 2]


def test_a_retry_that_celery_could_not_publish_is_sent_by_the_check(cut_off: Celery) -> None:
    trellis: Trellis = cut_off.trellis
    process = trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="8")

    @process_step(Intake.check)
    @cut_off.task(shared=False, name="check", bind=True)
    def check(task: Any) -> None:
        raise task.retry(countdown=0)

    header = headers.of_step(process.id, "Intake", process.steps["check"], task_id="1")
    received = {"id": "1", "task": "check", "delivery_info": {}, headers.NAME: header.to_wire()}
    trace_task(check, "1", (), {}, received, app=cut_off)

    step = process.refresh().steps["check"]
    assert (step.state, step.deadline_kind, step.run_id, step.celery_retries) == ("in_progress", "queue", None, 1)
    assert trellis.store.load_messages([StepKey(process.id, "check")]) != [None]


def test_two_apps_with_one_store_have_their_processes_in_common() -> None:
    store = MemoryStore()
    apps = [Celery("publishing", broker="memory://", set_as_current=False) for _ in "ab"]
    for app in apps:
        Trellis(app, store=store)
    here, elsewhere = apps
    process = here.trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="9")
    sent = headers_sent_with("check")

    with process:
        elsewhere.send_task("check")

    assert [header and header.process_id for header in sent] == [process.id]


@pytest.mark.parametrize(
    ("urls", "is_shared"),
    [
        (("redis://localhost/1", "redis://localhost/1"), True),
        (("redis://localhost/1", "redis://localhost/2"), False),
        (("memory://", "memory://"), False),
    ],
)
def test_whether_two_apps_share_their_store_is_told_by_its_url(urls: tuple[str, str], is_shared: bool) -> None:
    one, other = (Trellis(Celery("publishing", set_as_current=False)) for _ in urls)
    one.app.conf.trellis_url, other.app.conf.trellis_url = urls

    assert one.shares_store_with(other) == is_shared
    assert one.shares_store_with(one)
