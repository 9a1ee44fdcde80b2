"""What stands in the fields of a process's hash, and how it is read back.

``s:<step>``        ``<version> <token> <record>``; the empty step name is the process's own record
``n:<bit>``         how many records count as that bit, see `stores.classes`
``class``           the number of the process's class, a hexadecimal digit
``business_key``    its field in the hash of live processes
``index``           what its entries in the index are made of, see `listing`
``since``           when it was last changed while it was terminal, epoch ms
``relayed``         how many entries of its log have been relayed
``steps``           the names of the steps in the order of declaration
``meta``            everything else that never changes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import Position, ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LastCheck, StepKey
from trellis_celery.stores import classes, codec
from trellis_celery.stores.redis import listing

#: The fields that a summary is made of.
SUMMARY_FIELDS = ("business_key", "class", *(f"n:{bit}" for bit in range(classes.BITS)))

#: The token of the records that a process starts with.
_FIRST_TOKEN = "0"  # noqa: S105


def new_fields(process: Process) -> Iterator[tuple[str, Any]]:
    """The hash of a new process, field by field."""
    counts = classes.counts_of(process)
    yield "business_key", codec.dump_business_key(process.key)
    yield "class", listing.class_digit(classes.class_of(counts))
    yield "index", listing.seed_of(process)
    yield "steps", codec.dump_json(list(process.steps))
    yield "meta", codec.dump_json({"started_at_ms": process.started_at_ms, "metadata": dict(process.metadata)})
    for bit, count in counts.items():
        yield f"n:{bit}", count
    for record in (process.own, *process.steps.values()):
        yield f"s:{record.name}", f"{record.version} {_FIRST_TOKEN} ".encode() + codec.dump_step(record)


def read_process(process_id: str, fields: Mapping[bytes, bytes]) -> Process:
    """Raises ProcessNotFound, CorruptRecord."""
    if not fields:
        raise errors.ProcessNotFound(process_id=process_id)
    try:
        meta, names = codec.load_json(fields[b"meta"]), codec.load_json(fields[b"steps"])
        return Process(
            id=process_id,
            key=read_business_key(fields[b"business_key"]),
            steps={name: read_step(StepKey(process_id, name), fields[f"s:{name}".encode()]) for name in names},
            own=read_step(StepKey(process_id, OWN_RECORD), fields[b"s:"]),
            started_at_ms=meta["started_at_ms"],
            metadata=meta["metadata"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None


def read_summary(position: Position, values: Sequence[bytes | None]) -> ProcessSummary:
    """From the values of `SUMMARY_FIELDS`. Raises CorruptRecord."""
    business_key, class_digit, *numbers = values
    try:
        counts = {bit: int(number) for bit, number in enumerate(numbers) if number is not None}
        return ProcessSummary(
            id=position.process_id,
            key=read_business_key(business_key or b""),
            state=classes.CLASSES[int(class_digit or b"", 16)].state,
            is_overdue=classes.is_marked_overdue(counts),
            has_incident=classes.has_incident(counts),
            started_at_ms=position.started_at_ms,
            step_counts=classes.step_counts(counts),
        )
    except (IndexError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=position.process_id, problem=repr(error)) from None


def read_business_key(data: bytes) -> BusinessKey:
    tenant_id, process_type, aggregate_type, aggregate_id = codec.load_json(data)
    return BusinessKey(
        tenant_id=tenant_id, process_type=process_type, aggregate_type=aggregate_type, aggregate_id=aggregate_id
    )


def read_step(key: StepKey, value: bytes) -> ProcessStep:
    """Raises CorruptRecord."""
    version, _, rest = value.partition(b" ")
    _, _, record = rest.partition(b" ")
    if not version.isdigit():
        raise errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem="it has no version")
    return codec.load_step(record, name=key.step_name, version=int(version))


def read_step_or_error(key: StepKey, value: bytes | Exception | None) -> ProcessStep | Exception | None:
    if value is None or isinstance(value, Exception):
        return value
    try:
        return read_step(key, value)
    except errors.CorruptRecord as error:
        return error


def read_last_check(fields: Mapping[bytes, bytes]) -> LastCheck:
    return LastCheck(
        int(fields.get(b"at_ms", 0)), fields.get(b"by", b"").decode(), int(fields.get(b"leases_count_from_ms", 0))
    )
