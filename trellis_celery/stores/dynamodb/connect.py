"""From a URL to a DynamoDB client whose every try ends soon.

Credentials, and the region if the URL names none, come from where boto3 always finds them: environment, profile, role.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from trellis_celery import errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

SCHEME = "dynamodb"
DEFAULT_TABLE = "trellis"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z0-9-]*")
_FORM = "write dynamodb://eu-west-1/trellis, with ?endpoint=http://127.0.0.1:8000 for a server of your own"


def connect(url: str, *, timeout_ms: int) -> tuple[DynamoDBClient, str]:
    """A client for the URL, and the name of the table. Nothing is sent yet.

    ``dynamodb://[region]/[table][?endpoint=URL]``. Close the client when you are done with it.

    timeout_ms
        What the store may take in all. A try may take half of it, so that a second one fits; the store tries again,
        and the client does not.

    Raises ConfigurationError for a URL that makes no sense.
    """
    region, table, endpoint = _parsed(url)
    seconds = timeout_ms / 1000 / 4
    config = Config(
        connect_timeout=seconds,
        read_timeout=seconds,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=32,
    )
    try:
        session = boto3.session.Session()
        client = session.client("dynamodb", region_name=region, endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise errors.ConfigurationError(f"the URL {url} cannot be used: {error}; {_FORM}") from None
    return client, table


def _parsed(url: str) -> tuple[str | None, str, str | None]:
    """Region, table, endpoint. What the URL says is repeated only once it is known to have no password in it."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        endpoints = options.pop("endpoint", [])
        addresses = [urlsplit(endpoint) for endpoint in endpoints]
    except ValueError:
        raise errors.ConfigurationError(f"this is not a URL of DynamoDB; {_FORM}") from None
    if "@" in url:
        raise errors.ConfigurationError(
            "the URL of DynamoDB must not have credentials in it: boto3 finds them in the environment, "
            "a profile or a role"
        )
    table = parts.path.strip("/") or DEFAULT_TABLE
    problem = ""
    if parts.scheme != SCHEME:
        problem = f"it starts with {parts.scheme!r}"
    elif not _REGION.fullmatch(parts.netloc):
        problem = f"{parts.netloc!r} is not a region"
    elif not _TABLE.fullmatch(table):
        problem = f"{table!r} cannot be the name of a table"
    elif options or parts.fragment:
        problem = f"{', '.join(options) or 'what follows #'} means nothing"
    elif len(addresses) > 1 or any(one.scheme not in ("http", "https") or not one.hostname for one in addresses):
        problem = "endpoint must be one http:// or https:// URL"
    if problem:
        raise errors.ConfigurationError(f"the URL {url} cannot be used: {problem}; {_FORM}")
    return parts.netloc or None, table, endpoints[0] if endpoints else None
