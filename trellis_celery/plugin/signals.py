"""From Celery's signals to what happens to a step.

Receivers are connected once and serve every app that has a `Trellis`. Each catches whatever goes wrong in it, because
tracking must never stop a business task: it is logged and counted. Celery may tell an outcome twice, from another process,
in another order, or without a request; every rule behind these receivers takes that.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.exceptions import Ignore, Reject

from trellis_celery import errors
from trellis_celery.domain import transitions
from trellis_celery.domain.by_hand import Rule
from trellis_celery.plugin import context, headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, attach, run_of
from trellis_celery.ports import StepKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = logging.getLogger(__name__)

#: What Celery says when a task has replaced itself.
_REPLACED = "Replaced by new task"

#: Requests of this worker by task id, for the signals that come without one. Celery keeps them alive as long as needed.
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()


def trellis_of(app: Any) -> Trellis | None:
    """The `Trellis` of an app, if it has one."""
    return getattr(app, "trellis", None)


def _tracking(receiver: Callable[..., None]) -> Callable[..., None]:
    """A receiver that never raises."""

    @functools.wraps(receiver)
    def safe(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            logger.exception("tracking_failed", extra={"signal": receiver.__name__})

    return safe


@_tracking
def on_received(sender: Any, request: Any, **_: Any) -> None:
    """In the worker's main process: a message has come."""
    if headers.NAME in request.request_dict or "headers" in request.request_dict:
        _received[request.id] = request


@_tracking
def on_prerun(task: Any, task_id: str, **_: Any) -> None:
    """A run wants to start."""
    trellis = trellis_of(task.app)
    header = None if trellis is None else _header_to_run(trellis, task)
    if trellis is None or header is None:
        return
    request = task.request
    lease_ms = 0 if request.is_eager else trellis.settings.worker_lost_ms
    run = Run(trellis.recorder, header, lease_ms=lease_ms, worker=request.hostname)
    attach(request, run)
    try:
        run.start()
    except errors.TrellisError as error:
        trellis.count_untracked("start", header, error)


def _header_to_run(trellis: Trellis, task: Any) -> Header | None:
    """The header of the step that a task is about to do; None if it does none."""
    request = task.request
    header = context.header_of_request(request)
    if header is not None and header.is_for(request.id):
        return header
    process = context.entered_process() if request.is_eager else None
    if process is not None:
        header = Header(process_id=process.id, process_type=process.process_type, may_claim=True)
    if header is None or not header.may_claim:
        return None
    step = trellis.bindings.step_of(task.name, header.process_type)
    if step is None:
        return None
    return Header(
        process_id=header.process_id, process_type=header.process_type, step_name=step.name, task_id=request.id
    )


@_tracking
def on_success(sender: Any, **_: Any) -> None:
    """The body returned, and links and chain have gone out."""
    run = _live_run(sender.request)
    if run is not None:
        run.complete()


@_tracking
def on_failure(sender: Any, task_id: str, exception: Any, **_: Any) -> None:
    """The body raised, or the worker's main process found the child gone or over its time limit."""
    is_lost = isinstance(exception, WorkerLostError | TimeLimitExceeded)
    error = _describe(exception)
    run = _live_run(sender.request)
    if run is not None and not is_lost:
        run.fail(error)
        return
    _apply_by_header(
        sender.app, task_id, partial(transitions.lose if is_lost else transitions.fail, **_said(error, is_lost))
    )


def _said(error: str, is_lost: bool) -> dict[str, str]:
    return {"reason": error} if is_lost else {"error": error}


@_tracking
def on_retry(sender: Any, request: Any, **kwargs: Any) -> None:
    """Celery will run the task again; publishing it has told so already. Without a reason nothing was published."""
    if "reason" not in kwargs:
        _apply_by_header(sender.app, request.id, partial(transitions.lose, reason="the worker was shut down"))


@_tracking
def on_revoked(sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **_: Any) -> None:
    """The task was revoked, or its `expires` passed before it started."""
    if expired:
        _apply_by_header(sender.app, request.id, partial(transitions.fail, error="expired before it started"))
    else:
        header = _received_header(request.id)
        trellis = trellis_of(sender.app)
        if header is not None and trellis is not None:
            # The revocation is of the task, so of all attempts: each has the same task id.
            trellis.recorder.apply(_key(header), partial(transitions.cancel, reason="revoked"), guess=header.record)


@_tracking
def on_unknown(sender: Any, message: Any, id: str, name: str, **_: Any) -> None:
    """The worker has no such task and has thrown the message away; another worker may have it."""
    header = headers.read(message.headers)
    if header is not None and header.is_for(id):
        _apply(sender.app, header, partial(transitions.lose, reason=f"a worker does not know the task {name}"))


@_tracking
def on_postrun(task: Any, state: str | None, retval: Any, **_: Any) -> None:
    """The run is over. Everything that no other signal tells is told here."""
    run = _live_run(task.request)
    if run is None or run.is_settled:
        return
    if state == states.IGNORED:
        _settle_ignored(run, retval)
    elif state == states.REJECTED:
        _settle_rejected(run, retval)
    elif state == states.RETRY and task.request.is_eager:
        run.release(resend_in_ms=transitions.HANDOFF_MS)
    elif state not in states.ALL_STATES:
        error = sys.exc_info()[1]  # the run was ended by what is on its way up
        if isinstance(error, Exception):
            run.fail(_describe(error))
        else:
            run.lose(f"the run ended without an outcome: {_describe(error)}")


def _settle_ignored(run: Run, reason: Any) -> None:
    if isinstance(reason, Ignore) and str(reason).startswith(_REPLACED):
        run.hand_over()
    else:
        run.cancel("the task raised Ignore")


def _settle_rejected(run: Run, reason: Any) -> None:
    if isinstance(reason, Reject) and reason.requeue:
        run.release(resend_in_ms=transitions.HANDOFF_MS)
    else:
        run.fail(f"the task rejected its message: {getattr(reason, 'reason', reason)}")


def _live_run(request: Any) -> Run | None:
    """The run of this request, unless it was refused."""
    run = run_of(request)
    return run if run is not None and run.is_accepted else None


def _received_header(task_id: str) -> Header | None:
    request = _received.get(task_id)
    header = None if request is None else headers.read(request.request_dict)
    return header if header is not None and header.is_for(task_id) else None


def _apply_by_header(app: Any, task_id: str, rule: Callable[..., transitions.Transition]) -> None:
    """In the worker's main process: what happened to a task that a child ran."""
    header = _received_header(task_id)
    if header is not None:
        _apply(app, header, rule)


def _apply(app: Any, header: Header, rule: Callable[..., transitions.Transition]) -> None:
    trellis = trellis_of(app)
    if trellis is not None:
        attempt = max(header.attempt, 1)
        with_attempt: Rule = partial(rule, attempt=attempt)
        trellis.recorder.apply(_key(header), with_attempt)


def _key(header: Header) -> StepKey:
    return StepKey(header.process_id, header.step_name or "")


def _describe(error: Any) -> str:
    return f"{type(error).__name__}: {error}"


def connect() -> None:
    """Connect all receivers. Doing it again changes nothing."""
    for signal, receiver in (
        (signals.task_received, on_received),
        (signals.task_prerun, on_prerun),
        (signals.task_success, on_success),
        (signals.task_failure, on_failure),
        (signals.task_retry, on_retry),
        (signals.task_revoked, on_revoked),
        (signals.task_unknown, on_unknown),
        (signals.task_postrun, on_postrun),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"trellis.{receiver.__name__}")
