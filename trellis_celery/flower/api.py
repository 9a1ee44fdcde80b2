"""The JSON API, under `/api/trellis`: docs/reference/flower-api.md. Who may use it is Flower's own API's business."""

from __future__ import annotations

from typing import Any

import msgspec
from flower.api import BaseApiHandler
from tornado.web import authenticated

from trellis_celery.domain import plain
from trellis_celery.flower import answers, look, security
from trellis_celery.flower.actions import ACTIONS, CANCEL, Action, Asked
from trellis_celery.flower.handler import TrellisHandler
from trellis_celery.flower.problems import Problem, problem_of
from trellis_celery.flower.query import Query

#: Statistics may be asked for by a program that waits.
_PATIENCE_S = 10.0


class ApiHandler(TrellisHandler, BaseApiHandler):  # type: ignore[misc]
    """Answers in JSON, errors as well."""

    def prepare(self) -> None:
        super().prepare()
        if self.current_user is None:  # a page would lead to the login
            raise Problem(401, "Unauthorized", "log in to Flower first")

    def answer(self, data: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(msgspec.json.encode(data))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem = problem_of(kwargs.get("exc_info", (None, None))[1], status_code)
        self.set_status(problem.status_code)
        if problem.status_code == 401 and self.flower_options.basic_auth:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.answer({"error": {"status": problem.status_code, "kind": problem.kind, "message": problem.message}})

    def query(self) -> Query:
        """Raises a Problem, with the reason, for a query that makes no sense."""
        try:
            return Query.parse(self.query_words(strip=False))
        except ValueError as error:
            raise problem_of(error) from error

    def require_no_query(self) -> None:
        if unknown := sorted(self.request.query_arguments):
            raise Problem(400, "DefinitionError", f"{unknown[0][:40]!r} is not known here")


class Processes(ApiHandler):
    @authenticated
    async def get(self) -> None:
        query = self.query()
        self.answer(await self.read(lambda trellis: answers.page_data(look.page(trellis, query))))


class OneProcess(ApiHandler):
    @authenticated
    async def get(self, process_id: str) -> None:
        self.require_no_query()
        self.answer(await self.read(lambda trellis: answers.story_data(look.story(trellis, process_id))))


class Incidents(ApiHandler):
    @authenticated
    async def get(self) -> None:
        query = self.query()
        self.answer(await self.read(lambda trellis: answers.incident_page_data(look.incidents(trellis, query))))


class Statistics(ApiHandler):
    @authenticated
    async def get(self) -> None:
        self.require_no_query()
        stats = await self.recent_stats(patience_s=_PATIENCE_S)
        if stats is None:
            raise Problem(503, "StoreUnavailable", "the store has not counted within 10 s; ask again")
        self.answer(answers.stats_data(stats))


class Check(ApiHandler):
    @authenticated
    async def get(self) -> None:
        self.require_no_query()
        self.answer(await self.read(lambda trellis: answers.checks_data(look.checks(trellis))))


class Act(ApiHandler):
    @authenticated
    async def post(self, process_id: str, _action: str) -> None:
        await self.carry_out(CANCEL, process_id, "")

    async def carry_out(self, action: Action, process_id: str, step_name: str) -> None:
        self.require_may_act()
        body = self._body()
        if self.flower_options.auth and not self.request.headers.get("Authorization"):
            security.require_token(self)  # the login is a cookie, which a browser sends for whoever asks
        asked = Asked(
            process_id=process_id,
            step_name=step_name,
            reason=body.reason,
            attempt=body.attempt,
            by=security.actor(self, self.flower_options),
        )
        process = await self.act(action, asked)
        self.answer({"done": action.name, "process": plain.of_process(process)})

    def _body(self) -> ActionBody:
        if not self.request.body:
            return ActionBody()
        try:
            return msgspec.json.decode(self.request.body, type=ActionBody)
        except msgspec.MsgspecError as error:
            raise Problem(400, "BadBody", f"the body must be a JSON object like {_BODY_LIKE}: {error}") from None


class ActOnStep(Act):
    @authenticated
    async def post(self, process_id: str, step_name: str, action: str) -> None:
        await self.carry_out(ACTIONS[action], process_id, step_name)


class ActionBody(msgspec.Struct, forbid_unknown_fields=True):
    """What may come with an action."""

    reason: str = ""
    attempt: int | None = None


_BODY_LIKE = '{"reason": "…", "attempt": 2}'


class NotFound(ApiHandler):
    @authenticated
    async def get(self) -> None:
        raise Problem(404, "NotFound", "there is nothing here; see docs/reference/flower-api.md")

    post = put = delete = patch = get
