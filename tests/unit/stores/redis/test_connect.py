"""No server is asked: connections are made when they are first needed."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import pytest
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from trellis_celery import errors
from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.store import RedisStore

PASSWORD = "hunter2"


def _options(client: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.connection_pool.connection_kwargs
    return found


def test_a_url_names_host_port_database_and_password() -> None:
    options = _options(connect(f"redis://:{PASSWORD}@example.org:6380/5", timeout_ms=2_000))

    assert (options["host"], options["port"], options["db"]) == ("example.org", 6380, 5)
    assert options["password"] == PASSWORD


def test_a_call_may_be_tried_twice_within_its_time() -> None:
    options = _options(connect("redis://localhost/0", timeout_ms=3_000))

    retry = options["retry"]
    assert isinstance(retry, Retry)
    assert retry._retries == 1
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1.5, 1.5)


def test_a_url_may_name_a_socket_file() -> None:
    client = connect("redis+socket:///run/redis.sock?virtual_host=2", timeout_ms=1_000)

    assert client.connection_pool.connection_class is UnixDomainSocketConnection
    assert (_options(client)["path"], _options(client)["db"]) == ("/run/redis.sock", 2)


def test_rediss_means_tls_with_the_certificate_checked() -> None:
    client = connect("rediss://localhost/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem", timeout_ms=1_000)

    assert client.connection_pool.connection_class is SSLConnection
    assert _options(client)["ssl_ca_certs"] == "/ca.pem"


def test_several_sentinels_and_the_name_of_the_master_make_one_client() -> None:
    url = "sentinel://one:26379/3;sentinel://two:26379/3"

    client = connect(url, timeout_ms=2_000, transport_options={"master_name": "mine"})

    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mine"
    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [one["host"] for one in sentinels] == ["one", "two"]
    assert [one["socket_timeout"] for one in sentinels] == [1, 1]


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_nothing_is_sent_until_the_first_call(scheme: str) -> None:
    store = RedisStore(connect(f"{scheme}://127.0.0.1:1/0", timeout_ms=100))

    with pytest.raises(errors.StoreUnavailable, match="does not answer"):
        store.now_ms()
    with pytest.raises(errors.StoreUnavailable, match="does not answer"):
        store.load("3-abc")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@localhost:port/0",
        f"redis://:{PASSWORD}@localhost:99999999/0",
        f"redis://:{PASSWORD}@localhost/database",
        f"rediss://:{PASSWORD}@localhost/0?ssl_cert_reqs=perhaps",
        f"redis+cluster://:{PASSWORD}@localhost:port",
        f"redis+cluster://:{PASSWORD}@localhost:6379/5",
        f"redis://:a/{PASSWORD}@localhost:6379/0",
        f"redis://:{PASSWORD}/a@localhost:6379/0",
    ],
)
def test_a_bad_url_is_a_configuration_error_without_its_password(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        connect(url, timeout_ms=1_000)

    text = "".join(traceback.format_exception(raised.value))
    assert "the URL" in text
    assert PASSWORD not in text.replace(f'PASSWORD = "{PASSWORD}"', "")
