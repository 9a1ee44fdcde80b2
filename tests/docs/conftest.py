"""Pages are run in one Python process, though each is the program of somebody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import _state


@pytest.fixture(autouse=True)
def _tasks_of_its_own() -> Iterator[None]:
    """Celery gives a task to every app that is made ready later: two pages with tasks of one name would mix them up."""
    shared = vars(_state)["_on_app_finalizers"]
    before = set(shared)
    yield
    shared.intersection_update(before)
