"""What keeps a worker's threads alive."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from trellis_celery import errors
from trellis_celery.plugin.worker import KeepAlive


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
    assert [record.message for record in caplog.records] == ["keep_alive_failed"]
