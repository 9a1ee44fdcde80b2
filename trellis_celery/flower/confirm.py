"""The page that asks before anything is changed, and takes the answer.

It works without scripts, and its address can be written into a runbook.
"""

from __future__ import annotations

from tornado.web import authenticated

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.flower import security
from trellis_celery.flower.actions import ACTIONS, Action, Asked
from trellis_celery.flower.page import PageHandler
from trellis_celery.flower.problems import Problem

#: Where one goes afterwards, by the word in the form.
_BACK_TO_INCIDENTS = "incidents"


class ConfirmPage(PageHandler):
    @authenticated
    async def get(self, process_id: str, action_name: str) -> None:
        action, words = ACTIONS[action_name], self.query_words(strip=False)
        process = await self.read(lambda trellis: trellis.processes.get_process(process_id))
        step = self._step(process, action, words.get("step", ""))
        self.show(
            "confirm.html",
            action=action,
            process=process,
            step=step,
            may=action.may(step) if step else any(action.may(each) for each in process.steps.values()),
            back=self._back(process_id, words.get("back", "")),
            back_word=words.get("back", ""),
        )

    @authenticated
    async def post(self, process_id: str, action_name: str) -> None:
        self.require_may_act()
        security.require_token(self)
        action, attempt = ACTIONS[action_name], self.get_body_argument("attempt", "")
        asked = Asked(
            process_id=process_id,
            step_name=self.get_body_argument("step", "", strip=False),
            reason=self.get_body_argument("reason", ""),
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else None,
            by=security.actor(self, self.flower_options),
        )
        await self.act(action, asked)
        self.leave_notice(f"{asked.step_name}: {action.done}" if action.is_for_step else action.done)
        self.redirect(self._back(process_id, self.get_body_argument("back", "")), status=303)

    def _step(self, process: Process, action: Action, name: str) -> ProcessStep | None:
        if not action.is_for_step:
            return None
        if name not in process.steps:
            raise Problem(404, "StepNotFound", f"the process has no step {name[:80]!r}")
        return process.steps[name]

    def _back(self, process_id: str, word: str) -> str:
        if word == _BACK_TO_INCIDENTS:
            return str(self.reverse_url("trellis-incidents"))
        return str(self.reverse_url("trellis-process", process_id))
