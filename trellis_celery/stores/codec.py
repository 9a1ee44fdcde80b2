"""The stored form of records, the same in every store that keeps bytes, and in message headers.

A record is a JSON array: its format's number, then the fields in a fixed order, up to the last one that is not as it
was when the record was new. Fields are only ever added at the end, so that an older release reads what a newer one
wrote and the other way round.
"""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState

FORMAT = 1


class _StoredStep(msgspec.Struct, array_like=True, frozen=True):
    format: int
    timeout_ms: int | None
    retries_permitted: int
    queue_timeout_ms: int
    on_timeout: OnTimeout
    backoff_ms: int
    backoff_max_ms: int
    external: bool = False
    state: StepState = StepState.PENDING
    attempt: int = 0
    retry_count: int = 0
    resend_count: int = 0
    deadline_ms: int | None = None
    deadline_kind: DeadlineKind | None = None
    task_id: str | None = None
    args_digest: str | None = None
    run_id: str | None = None
    is_leased: bool = False
    is_finishing: bool = False
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    worker: str | None = None
    last_error: str | None = None
    celery_retries: int = 0
    has_incident: bool = False
    traceparent: str | None = None
    finishing_at_ms: int | None = None


class _StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    kind: EventKind
    step_name: str
    attempt: int
    occurred_at_ms: int
    detail: str = ""
    by: str = ""


_FIELDS = _StoredStep.__struct_fields__[1:]
_values_of = attrgetter(*_FIELDS)
_LAST = len(_FIELDS) - 1
_DEFAULTS = (*[None] * (_LAST + 1 - len(_StoredStep.__struct_defaults__)), *_StoredStep.__struct_defaults__)
_LAST_DECLARED = _FIELDS.index("backoff_max_ms")
_encode = msgspec.json.Encoder().encode
_decode_step = msgspec.json.Decoder(_StoredStep).decode
_decode_event = msgspec.json.Decoder(_StoredEvent).decode

#: The most of an error message or a detail that is kept, in characters.
MAX_TEXT = 2_000


def dump_step(step: ProcessStep) -> bytes:
    """The record without its name and version, which stand beside it."""
    values = _values_of(kept_step(step))
    last = _LAST
    while last > _LAST_DECLARED and values[last] == _DEFAULTS[last]:
        last -= 1
    return _encode((FORMAT, *values[: last + 1]))


def kept_step(step: ProcessStep) -> ProcessStep:
    """The record as it would be read back: its texts are shortened, and hold nothing that cannot be written."""
    worker = step.worker and _shorten(step.worker)
    last_error = step.last_error and _shorten(step.last_error)
    if (worker, last_error) == (step.worker, step.last_error):
        return step
    return replace(step, worker=worker, last_error=last_error)


def load_step(data: bytes | str, *, name: str, version: int) -> ProcessStep:
    """Raises CorruptRecord."""
    try:
        stored = _decode_step(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise errors.CorruptRecord(key=name, problem=str(error)) from None
    if stored.format != FORMAT:
        raise errors.CorruptRecord(key=name, problem=f"format {stored.format} is not known to this release")
    fields = asdict(stored)
    del fields["format"]
    if fields.pop("is_finishing") and stored.finishing_at_ms is None:  # the bit is older than the time
        fields["finishing_at_ms"] = stored.started_at_ms or 0
    try:
        return ProcessStep(name, version=version, **fields)
    except (errors.DefinitionError, errors.InvalidIdentifier) as error:  # one that was never written is checked
        raise errors.CorruptRecord(key=name, problem=str(error)) from None


def dump_event(event: Event) -> bytes:
    if not event.detail and not event.by:
        return _encode((event.kind, event.step_name, event.attempt, event.occurred_at_ms))
    kept = kept_event(event)
    return _encode((kept.kind, kept.step_name, kept.attempt, kept.occurred_at_ms, kept.detail, kept.by))


def kept_event(event: Event) -> Event:
    """The event as it would be read back."""
    detail, by = event.detail and _shorten(event.detail), event.by and _shorten(event.by)
    if (detail, by) == (event.detail, event.by):
        return event
    return replace(event, detail=detail, by=by)


def load_event(data: bytes) -> Event:
    """Raises CorruptRecord."""
    try:
        stored = _decode_event(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise errors.CorruptRecord(key="log entry", problem=str(error)) from None
    return Event(stored.kind, stored.step_name, stored.attempt, stored.occurred_at_ms, stored.detail, stored.by)


def dump_business_key(key: BusinessKey) -> bytes:
    """Different keys have different forms, whatever characters are in them."""
    return _encode(key.parts)


def dump_json(value: Any) -> bytes:
    """Raises DefinitionError if the value cannot be written as JSON and read back as it was.

    msgspec would write dates and decimal numbers as texts, and what is no number as null, and say nothing.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.DefinitionError(f"metadata must be JSON values: {error}") from None


def load_json(data: bytes | str) -> Any:
    """Raises CorruptRecord."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.CorruptRecord(key="JSON", problem=str(error)) from None


def _shorten(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= MAX_TEXT:
        return text
    # An error's text may have broken Unicode, or what PostgreSQL does not take.
    clean = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return clean if len(clean) <= MAX_TEXT else f"{clean[:MAX_TEXT]}…"
