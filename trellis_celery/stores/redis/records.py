"""What stands in the fields of a process's hash, and how it is read back.

``s:<step>``        ``<version> <token> <record>``; the empty step name is the process's own record
``state``           ``<class> <since> <counts>``: the number of its class, a hexadecimal digit; when it was last changed
                    while it was terminal, epoch ms; how many records count as each bit, see `stores.classes`
``identity``        what its entries in the index are made of, see `listing`, and its business key
``relayed``         how many entries of its log have been relayed
``meta``            everything else that never changes: the names of the steps are in the order of declaration
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
SUMMARY_FIELDS = ("identity", "state")

#: The token of the records that a process starts with.
_FIRST_TOKEN = "0"  # noqa: S105


def new_fields(process: Process) -> Iterator[tuple[str, Any]]:
    """The hash of a new process, field by field."""
    counts = classes.counts_of(process)
    numbers = ",".join(str(counts.get(bit, 0)) for bit in range(classes.BITS))
    yield "state", f"{classes.class_of(counts):x} 0 {numbers}"
    yield "identity", listing.seed_of(process) + codec.dump_business_key(process.key)
    yield (
        "meta",
        codec.dump_json(
            {
                "started_at_ms": process.started_at_ms,
                "steps": list(process.steps),
                "metadata": dict(process.metadata),
            }
        ),
    )
    for record in (process.own, *process.steps.values()):
        yield f"s:{record.name}", f"{record.version} {_FIRST_TOKEN} ".encode() + codec.dump_step(record)


def read_process(process_id: str, fields: Mapping[bytes, bytes]) -> Process:
    """Raises ProcessNotFound, CorruptRecord."""
    if not fields:
        raise errors.ProcessNotFound(process_id=process_id)
    try:
        meta = codec.load_json(fields[b"meta"])
        return Process(
            id=process_id,
            key=read_business_key(fields[b"identity"]),
            steps={name: read_step(StepKey(process_id, name), fields[f"s:{name}".encode()]) for name in meta["steps"]},
            own=read_step(StepKey(process_id, OWN_RECORD), fields[b"s:"]),
            started_at_ms=meta["started_at_ms"],
            metadata=meta["metadata"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None


def read_summary(position: Position, values: Sequence[bytes | None]) -> ProcessSummary:
    """From the values of `SUMMARY_FIELDS`. Raises CorruptRecord."""
    identity, state = values
    try:
        class_digit, _, numbers = (state or b"").split(b" ")
        counts = dict(enumerate(map(int, numbers.split(b","))))
        return ProcessSummary(
            id=position.process_id,
            key=read_business_key(identity or b""),
            state=classes.CLASSES[int(class_digit, 16)].state,
            is_overdue=classes.is_marked_overdue(counts),
            has_incident=classes.has_incident(counts),
            started_at_ms=position.started_at_ms,
            step_counts=classes.step_counts(counts),
        )
    except (IndexError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=position.process_id, problem=repr(error)) from None


def read_business_key(identity: bytes) -> BusinessKey:
    tenant_id, process_type, aggregate_type, aggregate_id = codec.load_json(identity[listing.SEED_SIZE :])
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
