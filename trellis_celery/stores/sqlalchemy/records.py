"""What stands in the rows of a process, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey, is_process_id, require_identifier
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import StepKey
from trellis_celery.stores import classes, codec
from trellis_celery.stores.digests import digest_number

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow

#: The token of the records that a process starts with.
_FIRST_TOKEN = "0"  # noqa: S105

Values = dict[str, Any]


def live_key(key: BusinessKey) -> str:
    return blake2b(codec.dump_business_key(key), digest_size=32).hexdigest()


def key_of(row: AnyRow) -> BusinessKey:
    """Raises CorruptRecord."""
    try:
        return BusinessKey(
            tenant_id=row.tenant_id,
            process_type=row.process_type,
            aggregate_type=row.aggregate_type,
            aggregate_id=row.aggregate_id,
        )
    except errors.InvalidIdentifier as error:
        raise errors.CorruptRecord(key=row.id, problem=str(error)) from None


def dump_counts(counts: Mapping[int, int]) -> str:
    return codec.dump_json([counts.get(bit, 0) for bit in range(classes.BITS)]).decode()


def load_counts(process_id: str, text: str) -> dict[int, int]:
    """Raises CorruptRecord."""
    counts = codec.load_json(text)
    if not isinstance(counts, list) or not all(isinstance(count, int) for count in counts) or not any(counts):
        raise errors.CorruptRecord(key=process_id, problem=f"{text!r} are not the counts of its steps")
    return dict(enumerate(counts))


def listed_values(process: Process) -> Values:
    """The columns of `models.Listed`. Raises DefinitionError if the metadata are not JSON values."""
    counts = classes.counts_of(process)
    return {
        "id": process.id,
        "tenant_id": process.tenant_id,
        "process_type": process.process_type,
        "aggregate_type": process.aggregate_type,
        "aggregate_id": process.aggregate_id,
        "tenant_digest": digest_number(process.tenant_id),
        "type_digest": digest_number(process.process_type),
        "aggregate_digest": digest_number(process.aggregate_id),
        "class_number": classes.class_of(counts),
        "counts": dump_counts(counts),
        "started_at_ms": process.started_at_ms,
        "details": codec.dump_json(dict(process.metadata)),
    }


def process_values(process: Process) -> Values:
    """The row of a new process. Raises DefinitionError if the metadata are not JSON values."""
    return {
        **listed_values(process),
        "live_key": live_key(process.key),
        "version": 1,
        "is_archived": None,
        "since_ms": None,
        "last_since_ms": 0,
        "outbox_at_ms": None,
    }


def step_values(process: Process) -> Iterator[Values]:
    """The rows of a new process's records, in the order of their names: that of every other writer."""
    in_order = [process.own, *process.steps.values()]
    for position, record in sorted(enumerate(in_order), key=lambda entry: entry[1].name):
        yield {
            "process_id": process.id,
            "name": record.name,
            "position": position,
            "version": record.version,
            "token": _FIRST_TOKEN,
            "record": codec.dump_step(record),
            "deadline_ms": record.deadline_ms,
            "lease_until_ms": None,
            "lease_attempt": None,
            "message": None,
        }


def read_process(row: AnyRow, step_rows: Sequence[AnyRow]) -> Process:
    """The step rows in the order of their positions. Raises ProcessNotFound, CorruptRecord."""
    if not step_rows:  # it was deleted between the two questions
        raise errors.ProcessNotFound(process_id=row.id)
    steps = {step_row.name: read_step(step_row) for step_row in step_rows}
    own = steps.pop(OWN_RECORD, None)
    metadata = codec.load_json(row.details)
    if own is None or not isinstance(metadata, dict):
        raise errors.CorruptRecord(key=row.id, problem="its own record is missing, or its metadata are damaged")
    return Process(id=row.id, key=key_of(row), steps=steps, own=own, started_at_ms=row.started_at_ms, metadata=metadata)


def read_step(row: AnyRow) -> ProcessStep:
    """Raises CorruptRecord."""
    return codec.load_step(row.record, name=row.name, version=row.version)


def read_step_or_error(row: AnyRow | None) -> ProcessStep | Exception | None:
    if row is None:
        return None
    try:
        return read_step(row)
    except errors.CorruptRecord as error:
        return error


def read_summary(row: AnyRow) -> ProcessSummary:
    """Raises CorruptRecord."""
    counts = load_counts(row.id, row.counts)
    return ProcessSummary(
        id=row.id,
        key=key_of(row),
        state=classes.CLASSES[classes.class_of(counts)].state,
        is_overdue=classes.is_marked_overdue(counts),
        has_incident=classes.has_incident(counts),
        started_at_ms=row.started_at_ms,
        step_counts=classes.step_counts(counts),
    )


def is_possible(key: StepKey) -> bool:
    """Whether there may be such a step: a database may refuse texts that none can have."""
    if not is_process_id(key.process_id):
        return False
    try:
        return key.step_name == OWN_RECORD or bool(require_identifier("step name", key.step_name))
    except errors.InvalidIdentifier:
        return False
