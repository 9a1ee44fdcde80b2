from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions

from trellis_celery import errors
from trellis_celery.stores.dynamodb.translate import as_ours, is_temporary, is_unsure


def _refused(code: str, status: int = 400, text: str = "says DynamoDB", **more: Any) -> exceptions.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return exceptions.ClientError(response, "GetItem")


def _cancelled(*codes: str) -> exceptions.ClientError:
    return _refused("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


BUSY = [
    _refused("ThrottlingException"),
    _refused("ProvisionedThroughputExceededException"),
    _refused("TransactionConflictException"),
    _cancelled("None", "TransactionConflict"),
    _cancelled("ThrottlingError", "None"),
    exceptions.EndpointConnectionError(endpoint_url="http://x"),
    exceptions.ConnectTimeoutError(endpoint_url="http://x"),
]
UNSURE = [
    _refused("InternalServerError", 500),
    _refused("Whatever", 503),
    _refused("TransactionInProgressException"),
    exceptions.ReadTimeoutError(endpoint_url="http://x"),
    exceptions.ConnectionClosedError(endpoint_url="http://x"),
]


@pytest.mark.parametrize("error", [*BUSY, *UNSURE], ids=repr)
def test_what_may_pass_is_tried_again_and_then_told_as_unavailable(error: Exception) -> None:
    assert is_temporary(error)
    assert isinstance(as_ours(error, table="t"), errors.StoreUnavailable)


@pytest.mark.parametrize("error", UNSURE, ids=repr)
def test_a_call_without_an_answer_may_have_been_carried_out(error: Exception) -> None:
    assert is_unsure(error)


@pytest.mark.parametrize("error", BUSY, ids=repr)
def test_a_call_that_was_turned_away_was_not_carried_out(error: Exception) -> None:
    assert not is_unsure(error)


@pytest.mark.parametrize(
    "error",
    [
        _refused("ResourceNotFoundException"),
        _refused("ValidationException", text="The table does not have the specified index: due"),
    ],
    ids=repr,
)
def test_a_missing_table_or_index_is_an_outdated_schema(error: Exception) -> None:
    assert isinstance(as_ours(error, table="t"), errors.SchemaOutdated)


@pytest.mark.parametrize(
    "error",
    [
        _refused("AccessDeniedException"),
        _refused("ValidationException", text="Item size has exceeded the maximum allowed size"),
        _cancelled("ValidationError", "TransactionConflict"),
        exceptions.ParamValidationError(report="wrong"),
    ],
    ids=repr,
)
def test_what_is_refused_for_good_is_not_tried_again(error: Exception) -> None:
    assert not is_temporary(error)
    assert type(as_ours(error, table="t")) is errors.StoreError


def test_missing_credentials_may_come_back() -> None:
    assert isinstance(as_ours(exceptions.NoCredentialsError(), table="t"), errors.StoreUnavailable)
