"""The example's other service: hears of every finished intake from the exchange, and bills it once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.cluster import ROOT
from tests.support.programs import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

PREFIX = "billing-test"
TAKE_IN = "import sys; from example_project.referrals.service import take_in; take_in(sys.argv[1])"


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    server = redis_url.rpartition("/")[0]
    return {
        "CELERY_BROKER_URL": f"{server}/0",
        "TRELLIS_URL": f"{server}/1",
        "REFERRALS_DATABASE_URL": f"{server}/2",
        "REFERRALS_PREFIX": PREFIX,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "C_FORCE_ROOT": "1",
    }


@pytest.fixture
def database(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(f"{redis_url.rpartition('/')[0]}/2", decode_responses=True) as client:
        yield client


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Program]]:
    programs: dict[str, Program] = {}
    worker = ["-m", "celery", "-A", "example_project.referrals", "worker", "-Q", "referrals,calendar", "-c", "3"]
    for name, arguments in (("billing", ["-m", "example_project.billing"]), ("worker", [*worker, "-l", "INFO"])):
        programs[name] = Program([sys.executable, *arguments], name=name, directory=tmp_path, env=environment)
    yield programs
    for program in programs.values():
        program.kill()


def test_a_finished_intake_is_billed_once(
    start: dict[str, Program], database: redis.Redis, environment: dict[str, str]
) -> None:
    start["worker"].wait_until(lambda: " ready." in start["worker"].output)
    bills = f"{PREFIX}:bills"
    with redis.Redis.from_url(environment["CELERY_BROKER_URL"]) as broker:
        bound = f"{PREFIX}:broker:_kombu.binding.referral-events"
        eventually(lambda: broker.exists(bound), within_s=20, what="the queue is bound")

    for referral_id in ("ref-1", "ref-2"):
        subprocess.run([sys.executable, "-c", TAKE_IN, referral_id], env={**os.environ, **environment}, check=True)

    eventually(lambda: database.scard(bills) == 2, within_s=30, what="both were billed")
    assert start["billing"].output.count("billed ref-1") == 1
    assert database.smembers(bills) == {"ref-1", "ref-2"}
