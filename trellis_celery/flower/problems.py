"""What cannot be done, as a status and a sentence. What went wrong within us is for the log, not for the visitor."""

from __future__ import annotations

from http import HTTPStatus

from tornado.web import HTTPError, MissingArgumentError

from trellis_celery import errors


class Problem(HTTPError):
    """An answer other than what was asked for."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, message)
        #: A word for programs.
        self.kind = kind
        #: A sentence for people: what happened, and what to do.
        self.message = message


#: The first that fits counts.
_STATUS: tuple[tuple[type[errors.TrellisError], int], ...] = (
    (errors.InvalidIdentifier, 400),
    (errors.DefinitionError, 400),
    (errors.ProcessNotFound, 404),
    (errors.StepNotFound, 404),
    (errors.InvalidTransition, 409),
    (errors.ProcessExists, 409),
    (errors.StoreError, 503),
    (errors.ConfigurationError, 503),
)

_UNKNOWN = "something went wrong here that should not have; the log of Flower says what"


def problem_of(error: BaseException | None, status: int = 500) -> Problem:
    """The answer that an error leads to."""
    if isinstance(error, Problem):
        return error
    for kind, of_kind in _STATUS:
        if isinstance(error, kind):
            return Problem(of_kind, type(error).__name__, errors.without_password(str(error)))
    if isinstance(error, MissingArgumentError):
        return Problem(400, "BadRequest", f"{error.arg_name} is missing")
    if isinstance(error, HTTPError):
        status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or error is None:
        return Problem(status, "Internal", _UNKNOWN) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _plain(status)
    return _plain(status, str(error.log_message or "") if isinstance(error, HTTPError) else "")


def _plain(status: int, message: str = "") -> Problem:
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.replace(" ", ""), message or phrase.lower())
