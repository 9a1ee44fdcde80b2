"""From the errors of botocore to ours, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore import exceptions

from trellis_celery import errors

#: DynamoDB cannot serve this call now, and may be able to in a moment. Nothing was written.
_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceeded",
        "ThrottlingException",
        "ThrottlingError",
        "RequestLimitExceeded",
        "LimitExceededException",
        "ReplicatedWriteConflictException",
        "TransactionConflictException",
        "TransactionConflict",
    }
)
#: The same, and the call may have been carried out.
_UNSURE = frozenset({"InternalServerError", "InternalFailure", "ServiceUnavailable", "TransactionInProgressException"})
CANCELLED = "TransactionCanceledException"
CONDITION_FAILED = "ConditionalCheckFailed"

#: The version of table and indexes that this release needs.
SCHEMA = "1"

DriverError = (exceptions.BotoCoreError, exceptions.ClientError)


def reply_of(error: Exception) -> Mapping[str, Any]:
    """What DynamoDB answered; empty if it did not answer."""
    return getattr(error, "response", None) or {}


def code_of(error: Exception) -> str:
    """DynamoDB's own word for the error; empty if it is not DynamoDB's."""
    return str(reply_of(error).get("Error", {}).get("Code", ""))


def reasons_of(error: Exception) -> list[dict[str, Any]]:
    """For each write of a cancelled transaction what was wrong with it."""
    return list(reply_of(error).get("CancellationReasons", ()))


def is_temporary(error: Exception) -> bool:
    """Whether the same call may succeed in a moment."""
    code = code_of(error)
    if code == CANCELLED:
        codes = {reason.get("Code", "None") for reason in reasons_of(error)} - {"None"}
        return bool(codes) and codes <= _BUSY
    return code in _BUSY or is_unsure(error) or isinstance(error, exceptions.ConnectionError)


def is_unsure(error: Exception) -> bool:
    """Whether the call may have been carried out though it failed."""
    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in _UNSURE or int(status) >= 500
    return isinstance(error, exceptions.HTTPClientError)


def as_ours(error: Exception, *, table: str) -> errors.StoreError:
    """The StoreError that tells what this error means."""
    code = code_of(error)
    if is_temporary(error):
        return errors.StoreUnavailable(f"DynamoDB does not answer: {_told(error)}")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.CredentialRetrievalError):
        return errors.StoreUnavailable(f"there are no credentials for DynamoDB now: {error}")
    if code == "ResourceNotFoundException":
        return errors.SchemaOutdated(found=None, needed=SCHEMA)
    if code == "ValidationException" and "index" in str(error).lower():
        return errors.SchemaOutdated(found="without some of its indexes", needed=SCHEMA)
    return errors.StoreError(f"DynamoDB refused an operation on table {table}: {_told(error)}")


def _told(error: Exception) -> str:
    if code_of(error) == CANCELLED:
        return "; ".join(
            f"{reason.get('Code')}: {reason.get('Message', '')}"
            for reason in reasons_of(error)
            if reason.get("Code", "None") != "None"
        )
    return str(error) or type(error).__name__
