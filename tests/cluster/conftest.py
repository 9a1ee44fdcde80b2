"""pytest-celery's fixtures for this directory, over programs instead of containers.

The tests speak to `celery_setup` and its nodes only. To run them on Docker, give the three `celery_…_cluster` fixtures
nodes over containers.

The plugin itself is off (`-p no:celery`): it would have every test see its fixtures, of which some have the names of
others, and its import puts an app of its own in the place of the current one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, _state

_app_before = _state._tls.current_app

from pytest_celery import (  # noqa: E402
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    celery_backend_cluster_config,
    celery_broker_cluster_config,
    celery_setup,
    celery_setup_app,
    celery_setup_config,
    celery_setup_name,
    celery_worker_cluster_config,
)

from tests.support.apps import parcels  # noqa: E402
from tests.support.process_nodes import ValkeyProcess, WorkerProcess  # noqa: E402

_state._set_current_app(_app_before)

__all__ = [
    "celery_backend_cluster_config",
    "celery_broker_cluster_config",
    "celery_setup",
    "celery_setup_app",
    "celery_setup_config",
    "celery_setup_name",
    "celery_worker_cluster_config",
]


@pytest.fixture(autouse=True)
def current_app() -> Iterator[None]:
    """Other tests find the current app as it was."""
    before = _state._tls.current_app
    yield
    _state._set_current_app(before)


class TrackedSetup(CeleryTestSetup):  # type: ignore[misc]
    """A setup whose app tracks what the test sends."""

    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        parcels.configure(app, app.conf.result_backend)

    def teardown(self) -> None:
        self.app.close()


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return TrackedSetup


@pytest.fixture
def celery_broker_cluster(tmp_path: Path) -> Iterator[CeleryBrokerCluster]:
    node = CeleryTestBroker(ValkeyProcess("broker", tmp_path))
    yield from _ready(CeleryBrokerCluster(node))


@pytest.fixture
def celery_backend_cluster(tmp_path: Path) -> Iterator[CeleryBackendCluster]:
    node = CeleryTestBackend(ValkeyProcess("backend", tmp_path))
    yield from _ready(CeleryBackendCluster(node))


@pytest.fixture
def celery_worker_cluster(
    tmp_path: Path, celery_worker_cluster_config: dict[str, Any], celery_setup_app: Celery
) -> Iterator[CeleryWorkerCluster]:
    """Two workers of one queue."""
    containers = [
        WorkerProcess(name, tmp_path, app_module=parcels.__name__, cluster_config=celery_worker_cluster_config)
        for name in ("one", "other")
    ]
    yield from _ready(CeleryWorkerCluster(*(CeleryTestWorker(container, celery_setup_app) for container in containers)))


def _ready(cluster: Any) -> Iterator[Any]:
    try:
        assert cluster.ready()
        yield cluster
    finally:
        for node in cluster:
            node.teardown()
