"""From Celery's signals to what happens to a step.

Receivers are connected once and serve every app that has a `Trellis`. Each catches whatever goes wrong in it, because
tracking must never stop a business task: it is logged and counted. Celery may tell an outcome twice, from another
process, in another order, or without a request; every rule behind these receivers takes that.
"""

from __future__ import annotations

import functools
import sys
import traceback
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from kombu.exceptions import EncodeError

from trellis_celery import errors
from trellis_celery.domain import outcomes, runs, transitions
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Transition, Verdict
from trellis_celery.logs import EventLogger
from trellis_celery.plugin import context, headers, message
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, attach, detach, new_run_id, run_of
from trellis_celery.ports import Attempt, AttemptSpan, SpanOutcome, StepKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = EventLogger(__name__)


class _AttemptRule(Protocol):
    """A rule with all but the record, the attempt and the time already given."""

    def __call__(self, step: ProcessStep, /, *, attempt: int, now_ms: int) -> Transition: ...


class _RunRule(Protocol):
    """A rule with all but the record, the attempt, the run and the time already given."""

    def __call__(self, step: ProcessStep, /, *, attempt: int, run_id: str | None, now_ms: int) -> Transition: ...


#: What Celery says when a task has replaced itself.
_REPLACED = "Replaced by new task"

#: The latest request of each task id in this worker, for the signals that come without one. Each attempt of a step is a
#: request of its own, and knows the one before it. Celery keeps them alive as long as needed.
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()


def trellis_of(app: Any) -> Trellis | None:
    """The `Trellis` of an app, if it has one."""
    return getattr(app, "trellis", None)


def _tracking(receiver: Callable[..., None]) -> Callable[..., None]:
    """A receiver that never raises. `sender` is always a task or a consumer: both have an app."""

    @functools.wraps(receiver)
    def safe(*, sender: Any, **kwargs: Any) -> None:
        try:
            receiver(sender=sender, **kwargs)
        except Exception as error:
            trellis = trellis_of(getattr(sender, "app", None))
            if trellis is not None:
                trellis.untracked.note(receiver.__name__.removeprefix("on_"))
            # An error of ours says all there is to say; any other is a mistake in this package.
            is_ours = isinstance(error, errors.TrellisError)
            logger.error("not_tracked", extra={"what": receiver.__name__, "error": str(error)}, exc_info=not is_ours)

    return safe


@_tracking
def on_received(sender: Any, request: Any, **_: Any) -> None:
    """In the worker's main process: a message has come."""
    trellis, received = trellis_of(sender.app), request.request_dict
    if trellis is not None and (headers.NAME in received or "headers" in received):
        if headers.is_trusted(received, trellis.signer):
            _resolve_claim(trellis, request)
            headers.name_run(received, task_id=request.id, run_id=new_run_id(), signer=trellis.signer)
        else:
            _leave_untracked(trellis, request)
        earlier = _received.get(request.id)
        request.trellis_earlier = None if earlier is None else weakref.ref(earlier)
        _received[request.id] = request


def _resolve_claim(trellis: Trellis, request: Any) -> None:
    """Write into the message which step it does, where its sender could not: its lease is renewed like any other."""
    header = headers.read(request.request_dict) if headers.may_claim(request.request_dict) else None
    if header is None:
        return
    claimed = _claim(trellis, request.type, request.id, header)
    if claimed is not None:
        headers.write(claimed, request.request_dict, trellis.signer)


def _leave_untracked(trellis: Trellis, request: Any) -> None:
    """Its task runs, as one of no process: nobody else will trust the header either."""
    trellis.untracked.note("signature")
    header = headers.read(request.request_dict)
    logger.warning(
        "header_not_signed",
        extra={
            "task": request.type,
            "task_id": request.id,
            "process_id": header and header.process_id,
            "step": header and header.step_name,
            "hint": "it is forged, or its sender has no trellis_signing_key or another",
        },
    )


@_tracking
def on_prerun(sender: Any, **_: Any) -> None:
    """A run wants to start."""
    trellis = trellis_of(sender.app)
    if trellis is None:
        return
    request = sender.request
    header = context.header_of_request(request, trellis)
    if request.is_eager and (header is None or not header.is_for(request.id)):
        header = _header_of_eager(trellis, sender)
    if header is None or not header.is_for(request.id):
        return
    run = Run(
        trellis.recorder,
        header,
        celery_retries=request.retries or 0,
        lease_ms=0 if request.is_eager else trellis.settings.worker_lost_ms,  # nobody renews for an eager run
        worker=request.hostname,
        span=_begin_span(trellis, header, request),
        keep=trellis.kept.keep,
    )
    attach(request, run)
    run.start()
    if run.verdict is Verdict.UNTRACKED:
        _leave_to_itself(trellis, request, header)


def _leave_to_itself(trellis: Trellis, request: Any, header: Header) -> None:
    """Let a task run as an ordinary one of its process: it is another call than the one that does the step."""
    logger.warning(
        "step_already_sent",
        extra={"process_id": header.process_id, "step": header.step_name, "task_id": request.id},
    )
    detach(request)
    headers.write(header.without_step(), vars(request), trellis.signer)


def _begin_span(trellis: Trellis, header: Header, request: Any) -> AttemptSpan | None:
    if trellis.tracer is None:
        return None
    attempt = Attempt(
        process_id=header.process_id,
        process_type=header.process_type,
        step_name=header.step_name or "",
        number=max(header.attempt, 1),
        celery_retries=request.retries or 0,
        task_id=request.id,
        worker=request.hostname,
        process_traceparent=header.traceparent,
    )
    return trellis.tracer.begin_attempt(attempt)


def _header_of_eager(trellis: Trellis, task: Any) -> Header | None:
    """A task that runs where it is sent has no message: it belongs to the process around it."""
    process = context.entered_process(trellis)
    if process is None:
        return None
    header = Header(
        process_id=process.id,
        process_type=process.process_type,
        args_digest=_digest_of_eager(task),
        traceparent=process.own.traceparent,
    )
    return _claim(trellis, task.name, task.request.id, header)


def _digest_of_eager(task: Any) -> str | None:
    """None for arguments that no message could carry, as those of an eager task may be."""
    try:
        return message.args_digest((task.request.args, task.request.kwargs, None), task.serializer)
    except EncodeError:
        return None


def _claim(trellis: Trellis, task_name: str, task_id: str, header: Header) -> Header | None:
    """The header of the step that a task does although its message does not say so; None if it does none."""
    step = trellis.bindings.step_of(task_name, header.process_type)
    if step is None:
        return None
    return Header(
        process_id=header.process_id,
        process_type=header.process_type,
        step_name=step.name,
        task_id=task_id,
        args_digest=header.args_digest,
        traceparent=header.traceparent,
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
    run = run_of(sender.request)
    if run is not None and not is_lost:
        if run.is_accepted:  # what a refused run comes to is nobody's business
            run.fail(error)
        return
    rule: _RunRule = partial(outcomes.lose, reason=error) if is_lost else partial(outcomes.fail, error=error)
    _end(sender.app, _header_of(sender.app, sender.request, task_id), rule)


@_tracking
def on_retry(sender: Any, request: Any, **kwargs: Any) -> None:
    """Celery will run the task again; publishing it has told so already. Without a reason nothing was published."""
    if "reason" not in kwargs:
        rule = partial(outcomes.lose, reason="the worker was shut down")
        _end(sender.app, _header_of(sender.app, request, request.id), rule)


@_tracking
def on_revoked(sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **_: Any) -> None:
    """The task was revoked, or its `expires` passed before it started."""
    header = _header_of(sender.app, request, request.id)
    if expired:
        rule: _AttemptRule = partial(outcomes.throw_away, reason="expired before it started", is_lost=False)
    else:
        rule = _cancel_revoked
    _apply(sender.app, header, _of_its_message(header, rule))


def _of_its_message(header: Header | None, rule: _AttemptRule) -> _AttemptRule:
    """The rule, unless the step's own message is another: what becomes of one for the same call does not matter."""

    def of_its_message(step: ProcessStep, /, *, attempt: int, now_ms: int) -> Transition:
        if header is not None and step.task_id not in (None, header.task_id):
            return Transition(step, step, verdict=Verdict.DUPLICATE)
        return rule(step, attempt=attempt, now_ms=now_ms)

    return of_its_message


def _cancel_revoked(step: ProcessStep, /, *, attempt: int, now_ms: int) -> Transition:
    """Every attempt has the same task id, so the revocation is of all of them."""
    return outcomes.cancel(step, reason="revoked", now_ms=now_ms)


@_tracking
def on_unknown(sender: Any, message: Any, id: str, name: str, **_: Any) -> None:
    """The worker has no such task and has thrown the message away; another worker may have it."""
    header = _trusted(sender.app, message.headers)
    if header is not None and header.is_for(id):
        rule = partial(runs.put_back, reason=f"a worker does not know the task {name}")
        _apply(sender.app, header, _of_its_message(header, rule))


@_tracking
def on_postrun(sender: Any, state: str | None, retval: Any, **_: Any) -> None:
    """The run is over. Everything that no other signal tells is told here."""
    run = _live_run(sender.request)
    if run is None:
        return
    if state == states.RETRY:
        run.end_span(SpanOutcome.RETRYING)
    try:
        if not run.is_settled:
            _settle(run, sender, state, retval)
    finally:
        run.raised = None  # its traceback leads back here


def _settle(run: Run, task: Any, state: str | None, retval: Any) -> None:
    if state == states.IGNORED:
        _settle_ignored(run, retval)
    elif state == states.REJECTED:
        _settle_rejected(run, retval)
    elif state == states.RETRY and task.request.is_eager:
        run.release(resend_in_ms=transitions.HANDOFF_MS)
    elif state == states.SUCCESS:
        _settle_returned(run, task)
    elif state not in states.ALL_STATES:
        # A hook, or the result backend, may have raised after the body did.
        error = run.raised or sys.exc_info()[1]
        if isinstance(error, Retry) and not task.request.is_eager:
            run.end_span(SpanOutcome.RETRYING)  # it was published before it was raised
        else:
            _settle_raised(run, error)


def _settle_returned(run: Run, task: Any) -> None:
    """Celery raised after the body had returned. If not over its result, it was over links and chain."""
    error = sys.exc_info()[1]
    if error is None or _is_out_of(error, task.backend.mark_as_done, task.on_success):
        run.complete()
    else:
        _settle_raised(run, error)


def _settle_raised(run: Run, error: BaseException | None) -> None:
    if isinstance(error, Exception):
        run.fail(_describe(error))
    else:
        run.lose(f"the run ended without an outcome: {_describe(error)}")


def _is_out_of(error: BaseException, *methods: Any) -> bool:
    """Whether it was raised within a call of one of these."""
    codes = {getattr(getattr(method, "__func__", None), "__code__", None) for method in methods}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _settle_ignored(run: Run, reason: Any) -> None:
    if isinstance(reason, Ignore) and str(reason).startswith(_REPLACED):
        run.hand_over()
    else:
        run.cancel("the task raised Ignore")


def _settle_rejected(run: Run, reason: Any) -> None:
    if isinstance(reason, Reject) and getattr(reason, "requeue", False):
        run.release(resend_in_ms=transitions.HANDOFF_MS)
    else:
        run.fail(f"the task rejected its message: {getattr(reason, 'reason', reason)}")


def _live_run(request: Any) -> Run | None:
    """The run of this request, unless it was refused."""
    run = run_of(request)
    return run if run is not None and run.is_accepted else None


def _header_of(app: Any, request: Any, task_id: str) -> Header | None:
    """The header of a task's message, by its request or else by its id; None if the task does no step."""
    trellis = trellis_of(app)
    header = None if trellis is None else context.header_of_request(request, trellis)
    if header is None and (ended := _ended_request(task_id)) is not None:
        header = _trusted(app, ended.request_dict)
    return header if header is not None and header.is_for(task_id) else None


def _trusted(app: Any, message_headers: Any) -> Header | None:
    trellis = trellis_of(app)
    return None if trellis is None else headers.trusted(message_headers, trellis.signer)


def _ended_request(task_id: str) -> Any:
    """The latest request with this task id that the pool is done with; a further attempt may be waiting or running."""
    request = _received.get(task_id)
    while request is not None and _is_pending(request):
        request = request.trellis_earlier and request.trellis_earlier()
    return request


def _is_pending(request: Any) -> bool:
    scheduled = getattr(state, "scheduled_requests", ())  # since Celery 5.7
    return request in state.reserved_requests or request in state.active_requests or request in scheduled


def _end(app: Any, header: Header | None, rule: _RunRule) -> None:
    """In the worker's main process: how the run of a message ended in a child. Another run may hold its attempt."""
    if header is not None:
        _apply(app, header, partial(rule, run_id=header.run_id))


def _apply(app: Any, header: Header | None, rule: _AttemptRule) -> None:
    """In the worker's main process: what happened to an attempt."""
    trellis = trellis_of(app)
    if trellis is not None and header is not None:
        key = StepKey(header.process_id, header.step_name or "")
        of_attempt = partial(rule, attempt=max(header.attempt, 1))
        of_call = runs.of_call(of_attempt, task_id=header.task_id, args_digest=header.args_digest)
        try:
            trellis.recorder.apply(key, of_call)
        except errors.StoreUnavailable:
            trellis.kept.keep(key, of_call)


def _describe(error: Any) -> str:
    if isinstance(error, SystemExit) and isinstance(error.code, int) and -256 < error.code < 0:
        return f"the child was stopped by signal {256 + error.code}"  # so billiard ends a child, and a cancelled run
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception as from_str:  # noqa: BLE001 - the team's own code
        return f"{name}, whose text cannot be had: {type(from_str).__name__}"


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
