"""The `trellis` header: which process a message belongs to and, if it does one of its steps, which attempt it is.

It carries the step's record as well, so that a worker can decide without reading the store. It is written into the
message's headers and into a nested ``headers`` dict where there is one: then Celery hands on only the nested dict when
a task is retried (https://github.com/celery/celery/issues/4875). Whatever came from the broker is read by `trusted`,
because anybody who can write there can write this.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin.signing import NO_KEY, Signer
from trellis_celery.stores import codec

NAME = "trellis"
PROTOCOL = 1

#: What the tracers of OpenTelemetry read.
MAX_TRACEPARENT_LENGTH = 512
MAX_RUN_ID_LENGTH = 32
MAX_DIGEST_LENGTH = 32


class Header(Struct, frozen=True, kw_only=True):
    process_id: str
    process_type: str
    #: The step that this message, or the task that sent it, does; None if neither does one.
    step_name: str | None = None
    #: The id of the task that does the step. The message is the step's if this is its own id.
    task_id: str | None = None
    attempt: int = 0
    #: The step's record as it was when the message was sent; None if it is not known.
    record: ProcessStep | None = None
    #: Of the call's arguments, if the store was not told of the message before it went out.
    args_digest: str | None = None
    #: The sender did not know the task: if the worker does, and it is bound to a step, then it is that step.
    may_claim: bool = False
    #: What started the process in a trace, in the form of the W3C.
    traceparent: str | None = None
    #: The run that this message becomes, once a worker has received it; before that, the run that sent it again.
    run_id: str | None = None
    #: The run that sent the message again, once a worker has received it.
    sent_by: str | None = None

    def is_for(self, task_id: str | None) -> bool:
        """Whether the message with this id does the step."""
        return self.step_name is not None and self.task_id is not None and self.task_id == task_id

    def without_step(self) -> Header:
        return Header(process_id=self.process_id, process_type=self.process_type, traceparent=self.traceparent)

    def to_wire(self) -> dict[str, Any]:
        """Strings and integers only: every broker and serializer can carry them."""
        wire: dict[str, Any] = {"v": PROTOCOL, "process": self.process_id, "type": self.process_type}
        if self.step_name is not None:
            wire |= {"step": self.step_name, "task": self.task_id or "", "attempt": self.attempt}
        if self.run_id is not None:
            wire["run"] = self.run_id
        if self.record is not None:
            wire |= {"version": self.record.version, "record": codec.dump_step(self.record).decode()}
        if self.args_digest is not None:
            wire["digest"] = self.args_digest
        if self.may_claim:
            wire["claim"] = 1
        if self.traceparent is not None:
            wire["trace"] = self.traceparent
        return wire


def of_step(
    process_id: str,
    process_type: str,
    step: ProcessStep,
    *,
    task_id: str | None = None,
    traceparent: str | None = None,
) -> Header:
    """The header of a message that does this step."""
    return Header(
        process_id=process_id,
        process_type=process_type,
        step_name=step.name,
        task_id=task_id or step.task_id,
        attempt=step.attempt,
        record=step,
        traceparent=traceparent,
    )


def write(header: Header, headers: MutableMapping[str, Any], signer: Signer = NO_KEY) -> None:
    """Into a message's headers, which have Celery's id, task and retries already: they are signed along."""
    _write(header.to_wire(), headers, signer)


def _write(wire: dict[str, Any], headers: MutableMapping[str, Any], signer: Signer) -> None:
    signer.sign(wire, headers)
    headers[NAME] = wire
    if isinstance(nested := headers.get("headers"), dict):
        headers["headers"] = {**nested, NAME: wire}  # the sender may use its dict again


def name_run(headers: MutableMapping[str, Any], *, task_id: str, run_id: str, signer: Signer = NO_KEY) -> None:
    """Give the run a name that a received message becomes, if the message does a step. It must be one to be trusted.

    Then the child that runs it and the process that looks after the child speak of the same run.
    """
    wire = _find(headers)
    if isinstance(wire, dict) and wire.get("task") == task_id:
        _write({**wire, "run": run_id, "by": wire.get("run")}, headers, signer)


def trusted(headers: Mapping[str, Any] | None, signer: Signer) -> Header | None:
    """Like `read`; None as well if the header was not signed for this message, although there is a key."""
    wire = _find(headers) if headers else None
    return from_wire(wire) if headers and wire is not None and signer.trusts(wire, headers) else None


def is_trusted(headers: Mapping[str, Any], signer: Signer) -> bool:
    """Whether a message's headers may be believed what they say of us. Without our header they say nothing."""
    wire = _find(headers)
    return wire is None or signer.trusts(wire, headers)


def read(headers: Mapping[str, Any] | None) -> Header | None:
    """The header in a message's headers, whoever wrote it; None if there is none, or none that makes sense."""
    return from_wire(_find(headers)) if headers else None


def process_of(headers: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The type of the process that a message of ours is of, and what started it in a trace; the rest is not read."""
    wire = _find(headers)
    if not isinstance(wire, Mapping) or not isinstance(process_type := wire.get("type"), str):
        return None
    return process_type, _read_short(wire, "trace", MAX_TRACEPARENT_LENGTH)


def may_claim(headers: Mapping[str, Any]) -> bool:
    """Whether the header in a message's headers leaves open which step the task does, if any."""
    return _may_claim(_find(headers))


def _may_claim(wire: Any) -> bool:
    return isinstance(wire, Mapping) and wire.get("claim") == 1


def _find(headers: Mapping[str, Any]) -> Any:
    wire = headers.get(NAME)
    if wire is None and isinstance(nested := headers.get("headers"), dict):
        wire = nested.get(NAME)
    return wire


def from_wire(wire: Any) -> Header | None:
    """Anybody who can write to the broker can write this: what makes no sense is as good as nothing."""
    match wire:
        case {"process": str(process_id), "type": str(process_type)} if is_process_id(process_id):
            return Header(
                process_id=process_id,
                process_type=process_type,
                may_claim=_may_claim(wire),
                args_digest=_read_short(wire, "digest", MAX_DIGEST_LENGTH),
                traceparent=_read_short(wire, "trace", MAX_TRACEPARENT_LENGTH),
                **_read_step(wire),
            )
        case _:
            return None


def _read_step(wire: Mapping[str, Any]) -> dict[str, Any]:
    """What the message says of the step that it does."""
    match wire:
        case {"step": str(step_name), "task": str(task_id), "attempt": int(attempt)}:
            return {
                "step_name": step_name,
                "task_id": task_id,
                "attempt": attempt,
                "record": _read_record(step_name, wire),
                "run_id": _read_short(wire, "run", MAX_RUN_ID_LENGTH),
                "sent_by": _read_short(wire, "by", MAX_RUN_ID_LENGTH),
            }
        case _:
            return {}


def _read_short(wire: Mapping[str, Any], name: str, most: int) -> str | None:
    value = wire.get(name)
    return value if isinstance(value, str) and len(value) <= most else None


def _read_record(step_name: str, wire: Mapping[str, Any]) -> ProcessStep | None:
    version, record = wire.get("version"), wire.get("record")
    if not isinstance(version, int) or version < 1 or not isinstance(record, str):
        return None
    try:
        return codec.load_step(record, name=step_name, version=version)
    except errors.CorruptRecord:
        return None
