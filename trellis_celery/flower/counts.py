"""How many processes there are of what: for the head of every page, and to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import Stats


class Counts(Struct, frozen=True):
    by_state: Mapping[ProcessState, int] = field(default_factory=dict)
    overdue: int = 0
    incidents: int = 0
    #: Clocks that have run out and that no check has taken up.
    due: int = 0
    types: tuple[str, ...] = ()
    #: The store has counted. Otherwise all this is zero because nobody knows.
    is_known: bool = False

    @classmethod
    def of(cls, stats: Stats | None) -> Counts:
        if stats is None:
            return cls()
        by_state: Counter[ProcessState] = Counter()
        for group, number in stats.processes.items():
            by_state[group.state] += number
        return cls(
            by_state=by_state,
            overdue=sum(number for group, number in stats.processes.items() if group.is_overdue),
            incidents=sum(number for group, number in stats.processes.items() if group.has_incident),
            due=stats.due,
            types=tuple(sorted({group.process_type for group in stats.processes})),
            is_known=True,
        )
