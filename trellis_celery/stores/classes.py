"""The classes of processes, by which stores index them: a process's state, and whether it is overdue.

A class follows from how many records of the process are in each state, so a store that counts them finds it without
knowing what a state means. The process's own record counts when it is marked as overdue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState, state_of
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState


class ProcessClass(NamedTuple):
    state: ProcessState
    is_overdue: bool


#: The states of steps by their bit.
STATES = tuple(StepState)
_BIT_OF_STATE = {state: bit for bit, state in enumerate(STATES)}
_BIT_OF_OVERDUE = len(STATES)
#: How many different bits there are.
BITS = len(STATES) + 1

#: By number, which is a part of the stored format. A finished process is not overdue any more. A process goes through
#: them in this order, so whoever reads their indexes in this order sees one that moves meanwhile twice and misses none.
CLASSES = tuple(
    ProcessClass(state, is_overdue)
    for state in ProcessState
    for is_overdue in (False, True)
    if not (is_overdue and state.is_terminal)
)


def bit_of(record: ProcessStep) -> int | None:
    """What the record counts as; None: as nothing."""
    if record.name != OWN_RECORD:
        return _BIT_OF_STATE[record.state]
    return None if record.last_error is None else _BIT_OF_OVERDUE


def counts_of(process: Process) -> dict[int, int]:
    """How many records of the process count as each bit that occurs."""
    bits = [bit_of(record) for record in (process.own, *process.steps.values())]
    return {bit: bits.count(bit) for bit in range(BITS) if bit in bits}


def step_counts(counts: Mapping[int, int]) -> dict[StepState, int]:
    """How many steps are in each state that occurs."""
    return {STATES[bit]: count for bit, count in sorted(counts.items()) if count > 0 and bit != _BIT_OF_OVERDUE}


def is_marked_overdue(counts: Mapping[int, int]) -> bool:
    return counts.get(_BIT_OF_OVERDUE, 0) > 0


def class_of(counts: Mapping[int, int]) -> int:
    """The number of the class of a process with these counts."""
    return _class_of_set(sum(1 << bit for bit, count in counts.items() if count > 0))


def _class_of_set(present: int) -> int:
    state = state_of(state for bit, state in enumerate(STATES) if present & 1 << bit)
    is_overdue = bool(present & 1 << _BIT_OF_OVERDUE)
    return CLASSES.index(ProcessClass(state, is_overdue and not state.is_terminal))


def numbers_for(only: ProcessFilter) -> list[int]:
    """The numbers of the classes whose processes the filter may let through."""
    return [
        number
        for number, (state, is_overdue) in enumerate(CLASSES)
        if only.state in (None, state) and (is_overdue or not only.is_overdue)
    ]


def is_terminal(number: int) -> bool:
    return CLASSES[number].state.is_terminal


#: For each set of bits that may occur, from {bit 0} on: the number of the class, one digit each.
CLASS_OF_SET = "".join(str(_class_of_set(present)) for present in range(1, 1 << BITS))
#: For each class: whether its processes are finished, and so hold no business key.
TERMINAL = "".join("1" if is_terminal(number) else "0" for number in range(len(CLASSES)))
