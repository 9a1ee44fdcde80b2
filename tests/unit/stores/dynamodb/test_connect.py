from __future__ import annotations

from contextlib import closing

import pytest

from trellis_celery import errors
from trellis_celery.stores.dynamodb.connect import connect


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.mark.parametrize(
    ("url", "region", "table", "endpoint"),
    [
        ("dynamodb://eu-west-1", "eu-west-1", "trellis", "https://dynamodb.eu-west-1.amazonaws.com"),
        ("dynamodb://us-east-2/orders", "us-east-2", "orders", "https://dynamodb.us-east-2.amazonaws.com"),
        (
            "dynamodb://eu-west-1/a.b_c-d?endpoint=http://127.0.0.1:8000",
            "eu-west-1",
            "a.b_c-d",
            "http://127.0.0.1:8000",
        ),
    ],
)
def test_a_url_names_region_table_and_endpoint(url: str, region: str, table: str, endpoint: str) -> None:
    client, found = connect(url, timeout_ms=1_000)

    with closing(client):
        assert (client.meta.region_name, found, client.meta.endpoint_url) == (region, table, endpoint)


def test_the_region_may_come_from_where_boto3_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")

    client, _ = connect("dynamodb:///orders", timeout_ms=1_000)

    with closing(client):
        assert client.meta.region_name == "ap-south-1"


def test_two_tries_fit_into_the_time_and_the_client_itself_tries_once() -> None:
    client, _ = connect("dynamodb://eu-west-1", timeout_ms=2_000)

    with closing(client):
        config = client.meta.config
        assert 2 * (config.connect_timeout + config.read_timeout) == 2.0
        assert config.retries["total_max_attempts"] == 1


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb:///orders",
        "dynamodb://EU WEST/orders",
        "dynamodb://eu-west-1:8000/orders",
        "dynamodb://eu-west-1/a",
        "dynamodb://eu-west-1/a/b/c",
        "dynamodb://eu-west-1/orders?region=other",
        "dynamodb://eu-west-1/orders?endpoint",
        "dynamodb://eu-west-1/orders?endpoint=localhost:8000",
        "dynamodb://eu-west-1/orders?endpoint=ftp://localhost",
        "dynamodb://eu-west-1/orders?endpoint=http://",
        "dynamodb://eu-west-1/orders?endpoint=http://a&endpoint=http://b",
        "dynamodb://eu-west-1/orders#fragment",
        "dynamodb://[eu-west-1/orders",
        "dynamo://eu-west-1/orders",
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="URL"):
        connect(url, timeout_ms=1_000)


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://key:secret@eu-west-1/orders",
        "dynamodb://eu-west-1/orders?endpoint=http://key:secret@127.0.0.1",
        "dynamodb://[key:secret@eu-west-1/orders",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as told:
        connect(url, timeout_ms=1_000)

    assert "secret" not in str(told.value)
