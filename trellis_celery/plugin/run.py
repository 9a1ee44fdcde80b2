"""One execution of one attempt of a step, as the worker process that runs it sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.exceptions import Ignore
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.step import ProcessStep, require_duration_ms
from trellis_celery.domain.transitions import Rule, Transition, Verdict
from trellis_celery.logs import EventLogger
from trellis_celery.plugin.headers import Header
from trellis_celery.ports import AttemptSpan, SpanOutcome, StepKey
from trellis_celery.services.recorder import Recorder

logger = EventLogger(__name__)

#: Links and chain are on their way this long after the body has returned, at the most; ms.
_MARGIN_MS = 500

_ATTRIBUTE = "trellis_run"


def new_run_id() -> str:
    return os.urandom(6).hex()


class Run:
    """Starts, ends and fences one run. Made when the task starts; kept on Celery's request.

    `keep`: takes an outcome that the store cannot be told of now; without it the error is raised.
    """

    def __init__(
        self,
        recorder: Recorder,
        header: Header,
        *,
        celery_retries: int,
        lease_ms: int,
        worker: str | None,
        span: AttemptSpan | None = None,
        keep: Callable[[StepKey, Rule], None] | None = None,
    ) -> None:
        self.run_id = header.run_id or new_run_id()
        #: Of what this run sends under its own task id: it says which run did.
        self.header = header if header.run_id == self.run_id else replace(header, run_id=self.run_id)
        self.key = StepKey(header.process_id, header.step_name or "")
        self.verdict = Verdict.ACCEPTED
        #: The attempt that this is a run of, whichever is current by now.
        self.attempt = max(header.attempt, 1)
        self.is_settled = False
        #: Whether the body is running: what it calls of itself is a part of it.
        self.is_executing = False
        #: What the body raised, until the run is over.
        self.raised: BaseException | None = None
        #: Whether the store has yet to be told of a message that this run sent: before it is told how the run ended.
        self.has_untold = False
        #: Whether this run has sent its own task once more, as `Task.retry` does: the step ends as that one does.
        self.has_sent_itself = False
        self._recorder = recorder
        self._celery_retries = celery_retries
        self._lease_ms = lease_ms
        self._worker = worker
        self._keep = keep
        #: The run's part of a trace, until it is ended. One that is dropped instead is never seen.
        self._span = span
        self._step: ProcessStep | None = header.record

    @property
    def record(self) -> ProcessStep | None:
        """The step as this run last saw it."""
        return self._step

    @property
    def is_accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPTED

    def start(self) -> None:
        """Ask to start. Raises StoreError; then the run goes on untracked and may still complete the step."""
        try:
            asked_at_ms = self._recorder.store.now_ms()
            transition = self._apply(
                partial(
                    runs.start,
                    run_id=self.run_id,
                    attempt=self.header.attempt or None,
                    task_id=self.header.task_id,
                    args_digest=self.header.args_digest,
                    celery_retries=self._celery_retries,
                    sent_by=self.header.sent_by,
                    worker=self._worker,
                    is_leased=self._lease_ms > 0,
                    traceparent=None if self._span is None else self._span.traceparent,
                )
            )
        except errors.StoreError:
            self._step = None  # what the header said may be old by the time of the next call
            raise
        self.verdict = transition.verdict
        if not self.is_accepted:
            self._span = None
            return
        self.attempt = transition.after.attempt
        if not transition.is_change and (transition.after.started_at_ms or asked_at_ms) < asked_at_ms:
            self._refuse_second_start()
        elif self._span is not None:
            self._span.follow(transition.before.traceparent, attempt=self.attempt)

    def _refuse_second_start(self) -> None:
        """This very run has started before, in a child that is gone.

        Celery gives its message to another child if the worker had not heard yet that the first one began. What that
        one did of the body nobody knows: the attempt is lost, as it is whenever a child dies.
        """
        self.verdict, self._span = Verdict.DUPLICATE, None
        self.lose("the child that ran it is gone")

    def require_acceptance(self, request: Any) -> None:
        """Raise Celery's Ignore unless this run may execute the body: its result and its chain are not touched."""
        if not self.is_accepted:
            self._skip("not started", not_sent=self._only_this_one_sends(request))

    def _only_this_one_sends(self, request: Any) -> str:
        """What follows in a refused task's canvas, if the step's own message is another, which does not send it."""
        if self._step is None or self._step.task_id in (None, self.header.task_id):
            return ""
        return ",".join(name for name in ("chain", "callbacks", "chord") if getattr(request, name, None))

    def execute(self, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What the body returns. Spans that it begins are children of the run's."""
        self.is_executing = True
        try:
            if self._span is None:
                return body(*args, **kwargs)
            with self._span.current():
                return body(*args, **kwargs)
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.is_executing = False

    def claim_finish(self) -> None:
        """The body has returned; links and chain go out next. Raises Ignore if they are not this run's to send.

        Costs nothing for a run that cannot have been replaced: a first attempt within its deadline and its lease.
        Raises StoreError, StepNotFound.
        """
        if not self._may_be_replaced():
            return
        rule = partial(
            runs.claim_finish,
            attempt=self.attempt,
            celery_retries=self._celery_retries,
            run_id=self.run_id,
            sent_by=self.header.sent_by,
        )
        self.verdict = self._apply(rule).verdict
        if self.verdict is Verdict.UNTRACKED:  # it started while the store was away: what it sends is its own
            self.is_settled = True
            self.end_span(SpanOutcome.LATE)
        elif not self.is_accepted:
            self._skip("not finished")

    def _may_be_replaced(self) -> bool:
        step = self._step
        if step is None or step.started_at_ms is None or step.attempt > 1:
            return True
        soon_ms = self._recorder.store.now_ms() + _MARGIN_MS
        # Before the start is after it, too: the store's clock was set back.
        lease_is_old = step.is_leased and not step.started_at_ms <= soon_ms < step.started_at_ms + self._lease_ms
        return lease_is_old or (step.deadline_ms is not None and soon_ms >= step.deadline_ms)

    def _skip(self, what: str, *, not_sent: str = "") -> None:
        self.is_settled = True
        self.end_span(SpanOutcome.LATE)
        reason = self.verdict.name.lower()
        facts = {
            "process_id": self.key.process_id,
            "step": self.key.step_name,
            "attempt": self.attempt,
            "why": reason,
        }
        logger.warning("run_refused", extra=facts | ({"not_sent": not_sent} if not_sent else {}))
        raise Ignore(f"trellis: {what}: {reason}")

    # Outcomes

    def complete(self) -> None:
        """Nothing if the body went on after `retry(throw=False)`; the same of `fail`."""
        if self.has_sent_itself:
            self._leave_to_retry()
            return
        self._settle(partial(outcomes.complete, attempt=self.attempt, run_id=self.run_id), SpanOutcome.COMPLETED)

    def fail(self, error: str) -> None:
        if self.has_sent_itself:
            self._leave_to_retry()
            return
        rule = partial(outcomes.fail, error=error, attempt=self.attempt, run_id=self.run_id)
        self._settle(rule, SpanOutcome.FAILED, error=error)

    def cancel(self, reason: str) -> None:
        rule = partial(outcomes.cancel, reason=reason, attempt=self.attempt, run_id=self.run_id)
        self._settle(rule, SpanOutcome.CANCELLED)

    def lose(self, reason: str) -> None:
        self.is_settled = True
        rule = partial(outcomes.lose, reason=reason, attempt=self.attempt, run_id=self.run_id)
        if self._apply_or_keep(rule) is Verdict.ACCEPTED:
            self._span = None  # the check, which takes the step up, makes one in its place
        self.end_span(SpanOutcome.LATE)

    def release(self, *, resend_in_ms: int) -> None:
        rule = partial(runs.release, attempt=self.attempt, run_id=self.run_id, resend_in_ms=resend_in_ms)
        self._settle(rule, SpanOutcome.RELEASED)

    def hand_over(self) -> None:
        self._settle(partial(runs.hand_over, attempt=self.attempt, run_id=self.run_id), SpanOutcome.HANDED_OVER)

    def _leave_to_retry(self) -> None:
        self.is_settled = True
        self.end_span(SpanOutcome.RETRYING)

    def _settle(self, rule: Rule, outcome: SpanOutcome, *, error: str = "") -> None:
        self.is_settled = True
        try:
            if self._apply_or_keep(rule) is not Verdict.ACCEPTED:
                outcome = SpanOutcome.LATE
        finally:
            self.end_span(outcome, error=error)

    def end_span(self, outcome: SpanOutcome, *, error: str = "") -> None:
        """Say in the trace how the run ended, unless that was said already."""
        span, self._span = self._span, None
        if span is not None:
            span.end(outcome, error=error)

    def heartbeat(self, *, extend_ms: int) -> bool:
        """Ask for more time; False if the attempt was replaced or the step finished."""
        require_duration_ms("extend_ms", extend_ms)
        rule = partial(runs.heartbeat, attempt=self.attempt, run_id=self.run_id, extend_ms=extend_ms)
        return self._apply(rule).verdict is Verdict.ACCEPTED

    def is_current(self) -> bool:
        """Whether this run still holds its step, as the store has it now."""
        (step,) = self._recorder.store.load_steps([self.key])
        if isinstance(step, Exception):
            raise step
        return step is not None and not step.state.is_terminal and step.run_id == self.run_id

    def saw(self, step: ProcessStep) -> None:
        """Note a record written elsewhere in this process, to guess right the next time."""
        self._step = step

    def _apply_or_keep(self, rule: Rule) -> Verdict:
        """The verdict; of an outcome that is written later, the one that is to be expected."""
        if self._keep is None or not self.has_untold:
            try:
                return self._apply(rule).verdict
            except errors.StoreUnavailable:
                if self._keep is None:
                    raise
        self._keep(self.key, self._of_its_call(rule))
        return Verdict.ACCEPTED

    def _apply(self, rule: Rule) -> Transition:
        rule = self._of_its_call(rule)
        transition = self._recorder.apply(self.key, rule, guess=self._step, lease_ms=self._lease_ms)
        self._step = transition.after
        return transition

    def _of_its_call(self, rule: Rule) -> Rule:
        return runs.of_call(rule, task_id=self.header.task_id, args_digest=self.header.args_digest)


def attach(request: Any, run: Run) -> None:
    """Keep a run on Celery's request."""
    setattr(request, _ATTRIBUTE, run)


def detach(request: Any) -> None:
    """Forget the run of Celery's request."""
    delattr(request, _ATTRIBUTE)


def run_of(request: Any) -> Run | None:
    """The run that was kept on Celery's request."""
    found = getattr(request, _ATTRIBUTE, None)
    return found if isinstance(found, Run) else None
