"""Which answer an error leads to, and that it gives nothing away."""

from __future__ import annotations

import pytest
from tornado.web import HTTPError, MissingArgumentError

from trellis_celery import errors
from trellis_celery.flower.problems import Problem, problem_of


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidIdentifier(field="tenant_id", value="", problem="is empty"), 400, "InvalidIdentifier"),
        (errors.DefinitionError("no"), 400, "DefinitionError"),
        (errors.ProcessNotFound(process_id="x"), 404, "ProcessNotFound"),
        (errors.StepNotFound(process_id="x", step="y"), 404, "StepNotFound"),
        (errors.InvalidTransition(step="a", state="completed", asked="failed"), 409, "InvalidTransition"),
        (errors.ProcessExists(process_id="x"), 409, "ProcessExists"),
        (errors.StoreUnavailable("away"), 503, "StoreUnavailable"),
        (errors.CorruptRecord(key="k", problem="?"), 503, "CorruptRecord"),
        (errors.ConfigurationError("trellis_url is not set"), 503, "ConfigurationError"),
        (HTTPError(404), 404, "NotFound"),
        (HTTPError(401, "log in"), 401, "Unauthorized"),
        (MissingArgumentError("step"), 400, "BadRequest"),
        (ZeroDivisionError("secret"), 500, "Internal"),
        (HTTPError(500, "secret"), 500, "Internal"),
    ],
)
def test_every_error_has_a_status_and_a_kind(error: Exception, status: int, kind: str) -> None:
    problem = problem_of(error)

    assert (problem.status_code, problem.kind) == (status, kind)
    assert problem.message
    assert "secret" not in problem.message


def test_a_password_in_a_message_is_not_told() -> None:
    error = errors.StoreUnavailable("the store redis://user:swordfish@host:6379/0 does not answer")

    assert "swordfish" not in problem_of(error).message


def test_without_an_error_the_status_says_it() -> None:
    assert (problem_of(None, 403).kind, problem_of(None, 500).kind) == ("Forbidden", "Internal")


def test_a_percent_sign_in_a_message_does_no_harm_to_the_log() -> None:
    assert str(Problem(400, "DefinitionError", "100 % wrong: %s %d"))
