"""A bound on how many time series there can be, whatever processes and steps are called.

Names of types and steps come from classes, so they are few; but a process can also be started under any name that a
program makes up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from trellis_celery.domain.queries import EventGroup

#: What stands for all process types, or all steps, beyond the bound.
OTHER = "other"

MOST_TYPES = 100
#: Of all types together.
MOST_STEPS = 500


class StepLabels(NamedTuple):
    process_type: str
    step: str


class Names:
    """Which process types and steps have time series of their own.

    Once they have, they keep them: a counter that moved to another series would look as if it had begun anew. So those
    that come first are kept, and of those that come together the ones of which more happened.
    """

    def __init__(self, *, most_types: int = MOST_TYPES, most_steps: int = MOST_STEPS) -> None:
        self._most_types = most_types
        self._most_steps = most_steps
        self._types: set[str] = set()
        self._steps: set[StepLabels] = set()

    def learn(self, types: Iterable[str], events: Mapping[EventGroup, int]) -> None:
        """Take in the names that there are."""
        of_type = dict.fromkeys(types, 0)
        of_step: dict[StepLabels, int] = {}
        for group, count in events.items():
            of_type[group.process_type] = of_type.get(group.process_type, 0) + count
            if group.step_name:
                labels = StepLabels(group.process_type, group.step_name)
                of_step[labels] = of_step.get(labels, 0) + count
        _keep(self._types, of_type, self._most_types)
        _keep(self._steps, of_step, self._most_steps)

    def process_type(self, name: str) -> str:
        return name if name in self._types else OTHER

    def step(self, process_type: str, name: str) -> StepLabels:
        if process_type not in self._types:
            return StepLabels(OTHER, OTHER)
        return StepLabels(process_type, name if StepLabels(process_type, name) in self._steps else OTHER)


def _keep(kept: set[Any], counts: Mapping[Any, int], most: int) -> None:
    new = sorted((name for name in counts if name not in kept), key=lambda name: (-counts[name], name))
    kept.update(new[: max(most - len(kept), 0)])
