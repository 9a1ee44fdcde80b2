"""What one process had to leave undone is told to the store, which every exporter asks."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import pytest
from celery import Celery

from tests.support import logged
from trellis_celery import ProcessType, Step, Trellis, errors
from trellis_celery.monitoring.metrics import UNTRACKED_WHAT
from trellis_celery.plugin import signals
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.untracked import RETRY_S, Untracked
from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.memory import InMemoryProcessRepository, MemoryStore


class Seconds:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Store(MemoryStore):
    """A store that can be away."""

    is_away = False

    def add_untracked(self, counts: Mapping[str, int]) -> None:
        if self.is_away:
            raise errors.StoreUnavailable("away")
        super().add_untracked(counts)

    @property
    def told(self) -> Mapping[str, int] | None:
        return self.stats().untracked


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def untracked(store: Store, seconds: Seconds) -> Untracked:
    return Untracked(lambda: store, clock_s=seconds)


def test_the_store_is_told_once_what_it_does_not_know(store: Store, untracked: Untracked) -> None:
    untracked.note("publish")
    untracked.note("publish")
    untracked.report()
    untracked.report()
    untracked.note("prerun")
    untracked.report()

    assert store.told == dict(untracked) == {"publish": 2, "prerun": 1}


def test_a_store_that_is_away_is_told_later_and_not_asked_all_the_time(
    store: Store, untracked: Untracked, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    untracked.note("publish")
    store.is_away = True
    with caplog.at_level(logging.WARNING):
        untracked.report()
        untracked.report()
    assert logged.events(caplog) == ["untracked_not_reported"]

    store.is_away = False
    untracked.note("publish")
    seconds.now_s += RETRY_S - 1
    untracked.report()
    assert store.told == {}
    seconds.now_s += 1
    untracked.report()

    assert store.told == {"publish": 2}


def test_a_store_that_counts_nothing_is_not_told() -> None:
    untracked = Untracked(lambda: RepositoryStore(InMemoryProcessRepository(), None))
    untracked.note("publish")

    untracked.report()

    assert untracked["publish"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_tell_what_its_parent_has_counted(store: Store, untracked: Untracked) -> None:
    untracked.note("publish")

    child = os.fork()
    if child == 0:
        untracked.note("prerun")
        untracked.report()
        os._exit(0 if store.told == {"prerun": 1} else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    untracked.report()
    assert store.told == {"publish": 1}


def test_an_app_tells_its_store_after_the_next_write_that_succeeds(store: Store) -> None:
    class Claim(ProcessType):
        pay = Step(external=True)

    app = Celery("untracked", set_as_current=False)
    app.conf.trellis_url = "memory://"
    trellis = Trellis(app, store=store)
    header = Header(process_id="", process_type="Claim")
    trellis.count_untracked("publish", header, errors.StoreUnavailable("away"))
    assert store.told == {}

    claim: Any = trellis.start_process(Claim, tenant_id="t", aggregate_type="A", aggregate_id="1")
    claim.complete_step("pay")

    assert store.told == {"publish": 1}


def test_metrics_know_everything_that_can_go_on_untracked() -> None:
    receivers = {name.removeprefix("on_") for name in vars(signals) if name.startswith("on_")}

    assert set(UNTRACKED_WHAT) == receivers | {"publish", "kept", "signature"}
