"""What stands in the fields of a process's hash, and how it is read back.

``s:<step>``        ``<version> <token> <record>``; the empty step name is the process's own record
``n:<bit>``         how many steps are in the state of that bit
``class``           which index the process is in
``business_key``    its field in the hash of live processes
``meta``            everything that never changes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState, state_of
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import LastCheck, StepKey
from trellis_celery.stores import codec

_STATES = tuple(StepState)
BIT = {state: bit for bit, state in enumerate(_STATES)}

#: The classes of processes, by number: one index each.
CLASSES = tuple(ProcessState)
CLASS_NUMBER = {state: number for number, state in enumerate(CLASSES)}

#: For each set of step states that may occur in a process, as bits from {bit 0} on: the class of such a process.
CLASS_OF_SET = "".join(
    str(CLASS_NUMBER[state_of(state for bit, state in enumerate(_STATES) if present & 1 << bit)])
    for present in range(1, 1 << len(_STATES))
)
#: For each class: whether its processes hold their business key.
HOLDS_KEY = "".join("0" if state.is_terminal else "1" for state in CLASSES)

#: The token of the records that a process starts with.
_FIRST_TOKEN = "0"  # noqa: S105


def new_fields(process: Process) -> Iterator[tuple[str, Any]]:
    """The hash of a new process, field by field."""
    yield "business_key", codec.dump_business_key(process.key)
    yield "class", CLASS_NUMBER[process.state]
    meta = {
        "key": process.key.parts,
        "steps": list(process.steps),
        "started_at_ms": process.started_at_ms,
        "metadata": dict(process.metadata),
    }
    yield "meta", codec.dump_json(meta)
    for state in {step.state for step in process.steps.values()}:
        yield f"n:{BIT[state]}", sum(step.state is state for step in process.steps.values())
    for record in (process.own, *process.steps.values()):
        yield f"s:{record.name}", f"{record.version} {_FIRST_TOKEN} ".encode() + codec.dump_step(record)


def read_process(process_id: str, fields: Mapping[bytes, bytes]) -> Process:
    """Raises ProcessNotFound, CorruptRecord."""
    if not fields:
        raise errors.ProcessNotFound(process_id=process_id)
    try:
        meta = codec.load_json(fields[b"meta"])
        tenant_id, process_type, aggregate_type, aggregate_id = meta["key"]
        return Process(
            id=process_id,
            key=BusinessKey(
                tenant_id=tenant_id,
                process_type=process_type,
                aggregate_type=aggregate_type,
                aggregate_id=aggregate_id,
            ),
            steps={name: read_step(StepKey(process_id, name), fields[f"s:{name}".encode()]) for name in meta["steps"]},
            own=read_step(StepKey(process_id, OWN_RECORD), fields[b"s:"]),
            started_at_ms=meta["started_at_ms"],
            metadata=meta["metadata"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None


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
