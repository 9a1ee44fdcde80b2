"""Whatever people call their things, and however many of them start the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis_celery import ProcessType, Step, Trellis, errors
from trellis_celery.domain.queries import ProcessFilter

PROGRAMS, THREADS = 4, 12


class Visit(ProcessType):
    work = Step(timeout_ms=60_000)


def new_trellis(url: str) -> Trellis:
    app = Celery("names", broker="memory://", set_as_current=False)
    app.conf.trellis_url = url
    return Trellis(app)


@pytest.fixture
def trellises(redis_url: str) -> Iterator[list[Trellis]]:
    """As many programs would have them."""
    trellises = [new_trellis(redis_url) for _ in range(PROGRAMS)]
    yield trellises
    for trellis in trellises:
        trellis.store.client.close()  # type: ignore[attr-defined]


@pytest.mark.fault("A10")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.tuples(*[st.text(max_size=40) | st.text("{}:%*?[]|\\ \n\x00é😀ع", max_size=6)] * 3))
def test_a10_any_names_are_kept_as_they_are_or_refused_before_anything_is_written(
    trellises: list[Trellis], names: tuple[str, str, str]
) -> None:
    one, other = trellises[:2]
    tenant_id, aggregate_type, aggregate_id = names
    key = {"tenant_id": tenant_id, "aggregate_type": aggregate_type, "aggregate_id": aggregate_id}
    before = len(one.list_processes(limit=10_000))

    try:
        process = one.start_process(Visit, **key)
    except errors.InvalidIdentifier:
        assert len(one.list_processes(limit=10_000)) == before
        return

    only = ProcessFilter(tenant_id=tenant_id, aggregate_type=aggregate_type, aggregate_id=aggregate_id)
    found = other.find_process(Visit, **key)
    assert found is not None
    assert (found.id, found.process.tenant_id, found.process.aggregate_id) == (process.id, tenant_id, aggregate_id)
    assert [each.id for each in other.list_processes(only)] == [process.id]
    assert one.store.delete(process.id)


@pytest.mark.fault("A12")
def test_a12_of_all_who_start_a_process_at_once_one_starts_it_and_the_others_are_told_which(
    trellises: list[Trellis],
) -> None:
    gate = Barrier(PROGRAMS * THREADS)

    def start(number: int) -> tuple[str, bool]:
        """The id, and whether it is our own process."""
        gate.wait()
        try:
            process = trellises[number % PROGRAMS].start_process(
                Visit, tenant_id="t", aggregate_type="A", aggregate_id="1", if_exists="raise"
            )
        except errors.ProcessExists as exists:
            return exists.process_id, False
        return process.id, True

    with ThreadPoolExecutor(PROGRAMS * THREADS) as pool:
        started = list(pool.map(start, range(PROGRAMS * THREADS)))

    assert [is_own for _, is_own in started].count(True) == 1
    (process_id,) = {process_id for process_id, _ in started}
    again = trellises[0].start_process(Visit, tenant_id="t", aggregate_type="A", aggregate_id="1")
    assert again.id == process_id
    assert [each.id for each in trellises[0].list_processes()] == [process_id]
