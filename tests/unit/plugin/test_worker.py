"""What keeps a worker's threads alive."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from celery import Celery

from tests.support import logged
from trellis_celery import Trellis, errors
from trellis_celery.plugin.worker import KeepAlive, _check_if_overdue
from trellis_celery.ports import LastCheck


def test_a_thread_outlives_a_store_that_is_away_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    keep_alive = KeepAlive(SimpleNamespace())
    calls = 0

    def renew() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            keep_alive.terminate(None)
        raise errors.StoreUnavailable("the store does not answer")

    with caplog.at_level(logging.ERROR, logger="trellis_celery"):
        keep_alive._run("trellis-leases", 1, renew)

    assert calls == 4
    assert logged.events(caplog) == ["keep_alive_failed"]


@pytest.mark.parametrize(("age_ms", "is_made"), [(0, False), (4_000, True), (-3_600_000, True)])
def test_a_worker_checks_when_the_last_check_is_old_or_the_clock_was_set_back_since(age_ms: int, is_made: bool) -> None:
    app = Celery("stand-in", set_as_current=False)
    app.conf.trellis_url = "memory://"
    trellis = Trellis(app)
    trellis.store.note_check(LastCheck(trellis.store.now_ms() - age_ms, "beat"))

    _check_if_overdue(SimpleNamespace(hostname="here"), trellis)

    assert (trellis.store.last_check().by == "worker here") is is_made
