"""Celery signs bodies, and trellis its headers: both at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from tests.support.cluster import ROOT, Cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.fault("X6")]

APP = "tests.support.apps.signed"
KEY, CERTIFICATES = "TRELLIS_TEST_SIGNING_KEY", "TRELLIS_TEST_CERTIFICATES"
SECRET = "a key for tests, long enough"


def test_x6_bodies_may_be_signed_as_well_by_celery(start_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    write_certificate(tmp_path)
    cluster = start_cluster(APP, env={KEY: SECRET})
    env = {CERTIFICATES: str(tmp_path)}
    cluster.worker(name="careful", env=env)
    process = cluster.trellis.start_process(
        cluster.module.Order, tenant_id="tests", aggregate_type="Order", aggregate_id="1"
    )
    send = (
        "from tests.support.apps.signed import bill, ship, trellis\n"
        f"with trellis.get_process({process.id!r}): bill.delay('1'), ship.delay('2')"
    )

    subprocess.run([sys.executable, "-c", send], env={**os.environ, **env}, cwd=ROOT, check=True, timeout=30)

    eventually(lambda: [process.refresh().steps[name].state for name in ("bill", "ship")] == ["completed"] * 2)
    assert process.steps["bill"].attempt == 2
    cluster.close()
