"""The classes of processes, by which stores index them: a process's state, whether it is overdue, and has an incident.

A class follows from how many records of the process count as which bits, so a store that counts them finds it without
knowing what a state means. A step counts as its state, and as an incident while it has one; the process's own record
counts when it is marked as overdue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trellis_celery.domain.process import END_STATES, OWN_RECORD, Process, ProcessState, state_of
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState


class ProcessClass(NamedTuple):
    state: ProcessState
    is_overdue: bool
    has_incident: bool


#: The states of steps by their bit.
STATES = tuple(StepState)
_BIT_OF_STATE = {state: bit for bit, state in enumerate(STATES)}
_BIT_OF_OVERDUE = len(STATES)
_BIT_OF_INCIDENT = _BIT_OF_OVERDUE + 1
#: How many different bits there are. Each has a digit as its name.
BITS = _BIT_OF_INCIDENT + 1

_WITHOUT_INCIDENT = frozenset({ProcessState.COMPLETED, ProcessState.CANCELLED})

#: By number, which is a part of the stored format. A finished process is not overdue any more. Until somebody steps in,
#: a process goes through them in this order, so whoever reads their indexes in this order sees one that moves meanwhile
#: twice and misses none.
CLASSES = tuple(
    ProcessClass(state, is_overdue, has_incident)
    for state in ProcessState
    for is_overdue in (False, True)
    for has_incident in (False, True)
    if not (is_overdue and state.is_terminal) and not (has_incident and state in _WITHOUT_INCIDENT)
)


_NOTHING, _OVERDUE = frozenset[int](), frozenset({_BIT_OF_OVERDUE})
_BITS = {state: (frozenset({bit}), frozenset({bit, _BIT_OF_INCIDENT})) for state, bit in _BIT_OF_STATE.items()}


def bits_of(record: ProcessStep) -> frozenset[int]:
    """What the record counts as."""
    if record.name == OWN_RECORD:
        return _NOTHING if record.last_error is None else _OVERDUE
    return _BITS[record.state][record.has_incident]


def moved(before: ProcessStep, after: ProcessStep) -> tuple[frozenset[int], frozenset[int]]:
    """The bits that the record stops counting as, and those that it begins to count as."""
    old, new = bits_of(before), bits_of(after)
    return old - new, new - old


def counts_of(process: Process) -> dict[int, int]:
    """How many records of the process count as each bit that occurs."""
    bits = [bit for record in (process.own, *process.steps.values()) for bit in bits_of(record)]
    return {bit: bits.count(bit) for bit in range(BITS) if bit in bits}


def step_counts(counts: Mapping[int, int]) -> dict[StepState, int]:
    """How many steps are in each state that occurs."""
    return {STATES[bit]: count for bit, count in sorted(counts.items()) if count > 0 and bit < len(STATES)}


def is_marked_overdue(counts: Mapping[int, int]) -> bool:
    return counts.get(_BIT_OF_OVERDUE, 0) > 0


def has_incident(counts: Mapping[int, int]) -> bool:
    return counts.get(_BIT_OF_INCIDENT, 0) > 0


def class_of(counts: Mapping[int, int]) -> int:
    """The number of the class of a process with these counts."""
    return _class_of_set(sum(1 << bit for bit, count in counts.items() if count > 0))


def _class_of_set(present: int) -> int:
    state = state_of(_states_in(present))
    is_overdue = bool(present & 1 << _BIT_OF_OVERDUE) and not state.is_terminal
    with_incident = bool(present & 1 << _BIT_OF_INCIDENT) and state not in _WITHOUT_INCIDENT
    return CLASSES.index(ProcessClass(state, is_overdue, with_incident))


def _states_in(present: int) -> Iterable[StepState]:
    return (state for bit, state in enumerate(STATES) if present & 1 << bit)


def numbers_for(only: ProcessFilter) -> list[int]:
    """The numbers of the classes whose processes the filter may let through."""
    return [
        number
        for number, (state, is_overdue, with_incident) in enumerate(CLASSES)
        if only.state in (None, state)
        and (is_overdue or not only.is_overdue)
        and (with_incident or not only.has_incident)
    ]


def is_terminal(number: int) -> bool:
    return CLASSES[number].state.is_terminal


#: For each set of bits that may occur, from {bit 0} on: the number of the class, one hexadecimal digit each.
CLASS_OF_SET = "".join(f"{_class_of_set(present):x}" for present in range(1, 1 << BITS))
#: For each class the place of its state in `END_STATES`, from 1 on, or 0 if its processes are not finished.
END_OF_CLASS = "".join(str(END_STATES.index(state) + 1 if state.is_terminal else 0) for state, _, _ in CLASSES)
