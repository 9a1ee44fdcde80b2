"""What happens when a task is sent.

`app.amqp.send_task_message` is the one way by which Celery sends tasks. It is wrapped, because the signal before it can
neither refuse a message nor see how it will be encoded. The wrapper only lends it a producer that looks at each message
after every signal receiver has had its turn: what is stored is what goes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery import Celery
from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import runs
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Rule, Verdict
from trellis_celery.logs import EventLogger
from trellis_celery.plugin import context, headers, message
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, run_of
from trellis_celery.ports import StepKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = EventLogger(__name__)


def track_publishing(app: Celery, trellis: Trellis) -> None:
    """From now on, look at every task that this app sends."""
    base: Any = type(app.amqp)

    class TrackingAMQP(base):  # type: ignore[misc]
        @cached_property
        def send_task_message(self) -> Any:
            return _tracking(super().send_task_message, trellis)

    # The object and not `app.amqp_cls`: an app can be pickled only if it names a class that can be found again.
    app.amqp.__class__ = TrackingAMQP
    vars(app.amqp).pop("send_task_message", None)


def _tracking(send_task_message: Any, trellis: Trellis) -> Any:
    def tracking_send_task_message(producer: Any, name: str, task_message: Any, **options: Any) -> Any:
        sender = _Sender.here(trellis) or _Sender.of_resent(task_message.headers, options.get("headers"), trellis)
        if sender is not None:
            producer = _TrackingProducer(producer, name, sender, trellis)
        return send_task_message(producer, name, task_message, **options)

    return tracking_send_task_message


class _Sender(Struct, frozen=True):
    """The code that sends a task, as far as it is within a process."""

    #: The process of the `with` block.
    process: Process | None
    #: The header of the running task, and its run if it does a step.
    header: Header | None
    run: Run | None
    #: The name of the running task.
    task_name: str | None = None
    #: The run whose child is gone, if the worker's main process sends its task.
    lost_run_id: str | None = None

    @property
    def process_key(self) -> tuple[str, str]:
        """The id and the type of the process."""
        within = self.process or self.header
        if isinstance(within, Process):
            return within.id, within.process_type
        return (within.process_id, within.process_type) if within else ("", "")

    @property
    def traceparent(self) -> str | None:
        """What started the process in a trace."""
        if self.process is not None:
            return self.process.own.traceparent
        return self.header.traceparent if self.header else None

    @classmethod
    def here(cls, trellis: Trellis) -> _Sender | None:
        """None outside of any process: then nothing is tracked, at the cost of two look-ups."""
        process = context.entered_process(trellis)
        request = context.running_request(trellis)
        header = None if request is None else context.header_of_request(request, trellis)
        run = None if request is None else run_of(request)
        if run is not None:
            header = run.header
        task_name = None if request is None else request.task
        return None if process is None and header is None else cls(process, header, run, task_name)

    @classmethod
    def of_resent(cls, resent: Mapping[str, Any], custom_headers: Any, trellis: Trellis) -> _Sender | None:
        """A step's own message that goes out where no task runs: Celery's `retry_on_worker_lost` does that."""
        header = headers.read(custom_headers)
        if header is None or not header.is_for(resent.get("id")):
            return None
        received = {**custom_headers, **resent, "retries": (resent.get("retries") or 0) - 1}
        if not headers.is_trusted(received, trellis.signer):
            return None
        return cls(None, header, None, lost_run_id=header.run_id)


class _TrackingProducer:
    """A kombu producer that tracks the task messages it publishes. Everything else is the real producer's."""

    def __init__(self, producer: Any, task_name: str, sender: _Sender, trellis: Trellis) -> None:
        self._producer = producer
        self._task_name = task_name
        self._sender = sender
        self._trellis = trellis

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        publication = _Publication(self._task_name, body, options, self._sender, self._trellis)
        if publication.task_id is not None:
            body, options = publication.track()
        elif isinstance(body, dict) and "task" in body:  # else it is an event
            publication.refuse_old_protocol()
        try:
            sent = self._producer.publish(body, **options)
        except Exception as error:
            publication.withdraw(error)
            raise
        publication.note_sent()
        return sent


class _Publication:
    """One message on its way out."""

    def __init__(self, task_name: str, body: Any, options: dict[str, Any], sender: _Sender, trellis: Trellis) -> None:
        self._task_name = task_name
        self._body = body
        self._options = options
        self._headers: dict[str, Any] = options.get("headers") or {}
        self._sender = sender
        self._trellis = trellis
        self.task_id: str | None = self._headers.get("id")
        #: Of a step that waits for this message since a moment ago, and for no other.
        self._queued: Header | None = None

    @cached_property
    def _encoded(self) -> tuple[bytes, dict[str, Any]]:
        return message.encode(self._body, self._options)

    @cached_property
    def _args_digest(self) -> str:
        return message.args_digest(self._body, self._options.get("serializer"))

    def track(self) -> tuple[bytes, dict[str, Any]]:
        """Write the header, after the store knows that the message is coming; return what to publish.

        A store that cannot be written is logged and counted, and the message goes out; the store is told later. With
        `trellis_strict` the error is raised instead, and nothing is sent.
        """
        header = self._header()
        if header.is_for(self.task_id):
            try:
                header = self._queue(header)
            except (errors.StoreError, errors.StepNotFound) as error:
                if self._trellis.settings.strict:
                    raise
                self._trellis.count_untracked("publish", header, error)
                if isinstance(error, errors.StoreUnavailable):
                    self._tell_later(header)
                if header is not self._sender.header:
                    header = replace(header, args_digest=self._args_digest)
        headers.write(header, self._headers, self._trellis.signer)
        return self._encoded

    def note_sent(self) -> None:
        """The broker has it."""
        if self._sender.run is not None and self._sender.header is not None:
            self._sender.run.has_sent_itself |= self._sender.header.is_for(self.task_id)

    def withdraw(self, error: Exception) -> None:
        """It could not be published. The caller is told so, and may send it again, or leave it."""
        if self._queued is None or self.task_id is None:
            return
        rule = partial(runs.withdraw, reason=f"{type(error).__name__}: {error}", task_id=self.task_id)
        key = self._key(self._queued)
        try:
            self._note(self._trellis.recorder.apply(key, rule).after)
        except errors.StoreUnavailable:
            self._trellis.kept.keep(key, rule)
        except errors.TrellisError:  # the caller has an error to deal with already
            logger.exception("step_not_withdrawn", extra={"process_id": key.process_id, "step": key.step_name})

    def _tell_later(self, header: Header) -> None:
        """Have the message's clock started when the store is back, and before it hears how the sending run ended."""
        rule = self._rule(header, is_late=True)
        self._trellis.kept.keep(self._key(header), rule, self._stored_message(header))
        if self._sender.run is not None:
            self._sender.run.has_untold = True

    def refuse_old_protocol(self) -> None:
        """A message of Celery 3 has no headers to put ours into."""
        error = errors.ConfigurationError("task_protocol = 1 cannot be tracked; leave the setting out")
        if self._trellis.settings.strict:
            raise error
        process_id, process_type = self._sender.process_key
        self._trellis.count_untracked("publish", Header(process_id=process_id, process_type=process_type), error)

    def _header(self) -> Header:
        """Where the message belongs, before the store was asked."""
        parent = self._sender.header
        if parent is not None and parent.is_for(self.task_id):
            return parent  # a retry, or a replacement of the running task
        process_id, process_type = self._sender.process_key
        step = self._trellis.bindings.step_of(self._task_name, process_type)
        if step is None:
            is_unknown = not self._trellis.bindings.knows(self._task_name)
            if is_unknown:
                logger.warning(
                    "task_unknown_to_sender",
                    extra={"process_id": process_id, "task": self._task_name, "hint": "declare it: Step(task=…)"},
                )
            digest = self._args_digest if is_unknown else None
            if parent is not None and parent.process_id == process_id:
                return replace(parent, record=None, may_claim=is_unknown, run_id=None, args_digest=digest)
            return Header(
                process_id=process_id,
                process_type=process_type,
                may_claim=is_unknown,
                args_digest=digest,
                traceparent=self._sender.traceparent,
            )
        process = self._sender.process
        record = None if process is None else process.steps.get(step.name)
        if record is None:
            record = step.new_record(queue_timeout_ms=self._trellis.settings.queue_timeout_ms).stored_as(1)
        return Header(
            process_id=process_id,
            process_type=process_type,
            step_name=step.name,
            task_id=self.task_id,
            attempt=max(record.attempt, 1),
            record=record,
            traceparent=self._sender.traceparent,
        )

    def _queue(self, header: Header) -> Header:
        """Record that the message is coming; return its header."""
        own_run = self._own_run(header)
        is_resent = header is self._sender.header
        transition = self._trellis.recorder.apply(
            self._key(header),
            self._rule(header),
            guess=own_run.record if own_run else None if is_resent else header.record,
            message=self._stored_message(header),
        )
        self._note(transition.after)
        if own_run is not None:
            own_run.saw(transition.after)
        if transition.verdict is Verdict.UNTRACKED:
            logger.warning(
                "step_already_sent",
                extra={"process_id": header.process_id, "step": header.step_name, "task_id": self.task_id},
            )
            return header.without_step()
        if transition.verdict in (Verdict.STALE, Verdict.FINISHED):
            return header
        if is_resent and own_run is not None:  # the store has it: the step ends as that one does, whenever it goes out
            own_run.has_sent_itself = True
        elif transition.is_change:
            self._queued = header
        return headers.of_step(
            header.process_id,
            header.process_type,
            transition.after,
            task_id=self.task_id,
            traceparent=header.traceparent,
        )

    def _key(self, header: Header) -> StepKey:
        return StepKey(header.process_id, header.step_name or "")

    def _stored_message(self, header: Header) -> bytes:
        """With no more of the header than is needed to write it anew: the rest is in the record by then."""
        of_process = {headers.NAME: header.without_step().to_wire()}
        data, options = self._encoded
        return message.capture(data, {**options, "headers": {**self._headers, **of_process}}).dump()

    def _rule(self, header: Header, *, is_late: bool = False) -> Rule:
        """What the message makes of its step. `is_late`: it has gone out before the store is told."""
        own_run = self._own_run(header)
        if header is self._sender.header:
            return self._queue_again(header, own_run)
        return partial(
            runs.queue,
            task_id=self.task_id or "",
            args_digest=self._args_digest,
            delay_ms=self._delay_ms(),
            is_own_run=own_run is not None or self._is_sent_by_its_own_task(header),
            is_late=is_late,
        )

    def _queue_again(self, header: Header, own_run: Run | None) -> Rule:
        rule = partial(
            runs.queue_again,
            attempt=own_run.attempt if own_run else max(header.attempt, 1),
            run_id=own_run.run_id if own_run else self._sender.lost_run_id,
            delay_ms=self._delay_ms(),
            celery_retries=self._headers.get("retries") or 0,
        )
        return runs.of_call(rule, task_id=header.task_id, args_digest=header.args_digest)

    def _is_sent_by_its_own_task(self, header: Header) -> bool:
        """Whether a task of the process sends itself: a poller, of which the first call is the step."""
        sender = self._sender
        is_within = sender.header is not None and sender.header.process_id == header.process_id
        return is_within and sender.task_name == self._task_name

    def _delay_ms(self) -> int:
        """How long the message waits on purpose. The time it is due at is by this host's clock, and so is now."""
        eta = self._headers.get("eta")
        if not isinstance(eta, str):
            return 0
        moment, now = datetime.fromisoformat(eta), self._trellis.app.now()
        if moment.tzinfo is None:
            now = now.replace(tzinfo=None)
        return max(0, int((moment - now).total_seconds() * 1000))

    def _own_run(self, header: Header) -> Run | None:
        """The running task's run, if the message is for the very step it does."""
        run = self._sender.run
        is_own = run is not None and run.key == (header.process_id, header.step_name)
        return run if is_own else None

    def _note(self, step: ProcessStep) -> None:
        """Bring the picture of the `with` block up to date."""
        process = self._sender.process
        if process is not None and step.name in process.steps:
            process.steps[step.name] = step
