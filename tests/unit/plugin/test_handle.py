from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery

from trellis_celery import ProcessHandle, ProcessType, Step, Trellis
from trellis_celery.plugin import context


class Intake(ProcessType):
    check = Step()


@pytest.fixture
def process() -> ProcessHandle:
    app = Celery("handles", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    return Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")


def test_two_threads_may_be_within_one_handle_and_leave_it_in_any_order(process: ProcessHandle) -> None:
    both_in, first_out = threading.Barrier(2, timeout=5), threading.Event()

    def stay(is_first: bool) -> tuple[bool, bool]:
        with process:
            both_in.wait()
            if not is_first:
                first_out.wait(5)
            is_within = context.entered_process(process._trellis) is process.process
        first_out.set()
        return is_within, context.entered_process(process._trellis) is None

    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(stay, [True, False]))

    assert seen == [(True, True), (True, True)]


def test_a_handle_may_be_entered_within_itself(process: ProcessHandle) -> None:
    with process:
        with process:
            assert context.entered_process(process._trellis) is process.process
        within = context.entered_process(process._trellis)

    assert within is process.process
    assert context.entered_process(process._trellis) is None
