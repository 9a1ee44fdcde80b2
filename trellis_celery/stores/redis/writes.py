"""What `commit.lua` is told of a change: one map in MessagePack, which costs both sides less than many arguments."""

from __future__ import annotations

from functools import cache, lru_cache

import msgspec

from trellis_celery.domain.process import end_events
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, LeaseKey
from trellis_celery.stores import classes, codec
from trellis_celery.stores.redis.keys import lease_member
from trellis_celery.stores.tallies import tallies_of

_STORE, _DROP = 1, 2

_encode = msgspec.msgpack.Encoder().encode


class _Write(msgspec.Struct, omit_defaults=True):
    """As the header of the script names it."""

    process: str
    step: str
    version: int
    token: str
    record: str
    ends: str
    deadline: int | None = None
    old_lease: str = ""
    new_lease: str = ""
    lease_ms: int = 0
    left: str = ""
    entered: str = ""
    classes: str = ""
    own_ends: list[str] = []
    log: list[str] = []
    totals: list[str | int] = []
    announced: int = 0
    message: int = 0


@lru_cache(maxsize=4_096)
def total_field(step_name: str, name: str) -> str:
    """The field of a total behind the digest of its type. No name has a line break in it."""
    return f"{name}\n{step_name}"


def dump(change: Change) -> list[bytes]:
    """The arguments of the script."""
    before, after, events = change.transition.before, change.transition.after, change.transition.events
    write = _Write(
        process=change.process_id,
        step=before.name,
        version=before.version,
        token=change.token,
        record=codec.dump_step(after).decode(),
        ends=classes.END_OF_CLASS,
        deadline=after.deadline_ms,
        log=[codec.dump_event(event).decode() for event in events],
        totals=_totals(change),
        announced=int(change.is_announced and bool(events)),
    )
    _tell_leases(write, change)
    _tell_moves(write, change)
    if not after.needs_message:
        write.message = _DROP
    elif change.message is not None:
        write.message = _STORE
        return [_encode(write), change.message]
    return [_encode(write)]


def _tell_leases(write: _Write, change: Change) -> None:
    """Of a lease that stands only its worker's renewals tell."""
    before, after = change.transition.before, change.transition.after
    if not before.is_leased and not after.is_leased:
        return
    old, new = _lease_of(change, before), _lease_of(change, after)
    if old != new:
        write.old_lease, write.new_lease, write.lease_ms = old, new, change.lease_ms


def _lease_of(change: Change, record: ProcessStep) -> str:
    return lease_member(LeaseKey(change.process_id, record.name, record.attempt)) if record.is_leased else ""


def _tell_moves(write: _Write, change: Change) -> None:
    left, entered = classes.moved(change.transition.before, change.transition.after)
    if not left and not entered:
        return
    write.left, write.entered = _digits(left), _digits(entered)
    write.classes = classes.CLASS_OF_SET
    if not change.transition.after.state.is_terminal:  # then it ends no process
        return
    for end in end_events(change.occurred_at_ms):
        write.own_ends += (codec.dump_event(end).decode(), total_field(end.step_name, end.kind))


@cache
def _digits(bits: frozenset[int]) -> str:
    return "".join(map(str, bits))


def _totals(change: Change) -> list[str | int]:
    totals: list[str | int] = []
    for step_name, name, amount in tallies_of(change.transition.events, change.lateness_ms):
        totals += (total_field(step_name, name), amount)
    return totals
