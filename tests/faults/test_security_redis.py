"""A Redis that speaks TLS alone, and knows nobody but a user with the rights of the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support import redis_forms
from tests.support.cluster import ROOT, Cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.fault("X8")]

PAGE = ROOT / "docs/reference/doctor.md"


@pytest.fixture
def administrator(tmp_path: Path) -> Iterator[redis.Redis]:
    """Of a server on which everybody else has to be the user of the page."""
    (rights,) = re.findall(r"```text\nACL SETUSER shop (.*?)```", PAGE.read_text(), re.DOTALL)
    with redis_forms.over_tls(tmp_path) as place, redis.Redis.from_url(place.url, decode_responses=True) as client:
        client.execute_command("ACL", "SETUSER", "shop", "reset", *rights.split())
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">of the administrator")
        yield client


def url_of(client: redis.Redis, login: str) -> str:
    given = client.connection_pool.connection_kwargs
    return f"rediss://{login}127.0.0.1:{given['port']}/0?ssl_cert_reqs=required&ssl_ca_certs={given['ssl_ca_certs']}"


def test_x8_steps_are_kept_and_looked_for_over_tls_by_a_user_of_few_rights(
    administrator: Any, start_cluster: Callable[..., Cluster]
) -> None:
    url = url_of(administrator, "shop:password@")
    cluster = start_cluster("tests.support.apps.ward", env={"TRELLIS_TEST_STORE": url})
    cluster.worker("-B", "-s", str(cluster._directory / "schedule"))
    process = cluster.trellis.start_process(
        cluster.module.Visit, tenant_id="tests", aggregate_type="Patient", aggregate_id="1"
    )

    with process:
        cluster.module.examine.delay()
    cluster.trellis.processes.start_step(process.process, "consent")

    eventually(lambda: process.refresh().steps["examine"].state == "completed", what="done")
    eventually(lambda: process.refresh().steps["consent"].state == "failed", what="given up")
    assert administrator.execute_command("ACL", "LOG") == [], "a command was denied"
    assert administrator.dbsize() > 0
    cluster.close()


def test_x8_without_tls_or_a_login_or_with_other_keys_the_server_lets_nobody_in(administrator: Any) -> None:
    port = urlsplit(url_of(administrator, "")).port
    assert port is not None

    with pytest.raises(redis.ConnectionError), redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as plain:
        plain.ping()
    with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(url_of(administrator, "")) as nobody:
        nobody.ping()
    with redis.Redis.from_url(url_of(administrator, "shop:password@")) as shop:
        for command in (("GET", "of:others"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                shop.execute_command(*command)
