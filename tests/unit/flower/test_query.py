"""What a list is asked for, from the words of a URL and back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_celery import errors
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import Position, ProcessFilter
from trellis_celery.flower.query import STATE_ORDER, Place, Query

SOME_ID = "3-" + "ab" * 16
POSITION = Position(1_700_000_000_000, SOME_ID)


def test_what_is_empty_counts_as_not_said() -> None:
    assert Query.parse({"type": "", "state": "", "after": ""}) == Query()


def test_words_become_a_filter() -> None:
    query = Query.parse(
        {"type": "Order", "tenant": "acme", "aggregate_type": "Order", "aggregate_id": "o-1", "incident": "true"}
    )

    assert query.only == ProcessFilter(
        process_type="Order", tenant_id="acme", aggregate_type="Order", aggregate_id="o-1", has_incident=True
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"overdue": "maybe"}, "overdue must be 1 or 0"),
        ({"limit": "501"}, "between 1 and 500"),
        ({"limit": "-1"}, "whole number"),
        ({"limit": "٣"}, "whole number"),
        ({"started_from_ms": "9" * 16}, "whole number"),
        ({"order": "oldest"}, "order must be one of newest, state"),
        ({"after": SOME_ID}, "what the page before gave"),
        ({"after": f"paused/1/{SOME_ID}", "order": "state"}, "what the page before gave"),
        ({"after": f"failed/1/{SOME_ID}"}, "another order"),
        ({"x" * 100: "1"}, "is not known here"),
    ],
    ids=str,
)
def test_words_that_make_no_sense_are_refused_with_the_reason(words: dict[str, str], reason: str) -> None:
    with pytest.raises(errors.DefinitionError, match=reason):
        Query.parse(words)


places = st.builds(Position, st.integers(0, 10**14), st.just(SOME_ID))
queries = st.builds(
    Query,
    only=st.builds(
        ProcessFilter,
        process_type=st.sampled_from([None, "Order", "a&b=c?d", "ünï/…"]),
        tenant_id=st.sampled_from([None, "acme", "a b+c%20"]),
        is_overdue=st.booleans(),
        state=st.sampled_from([None, ProcessState.PENDING, ProcessState.IN_PROGRESS]),
        started_from_ms=st.sampled_from([None, 0, 1_700_000_000_000]),
    ),
    min_age_ms=st.sampled_from([None, 0, 60_000]),
    limit=st.integers(1, 500),
    after=st.one_of(st.none(), st.builds(Place, places)),
)


@given(queries)
def test_a_query_that_was_written_into_a_url_is_read_back(query: Query) -> None:
    text = query.text()

    assert Query.parse(dict(parse_qsl(text.removeprefix("?")))) == query


def test_in_the_order_of_states_a_list_goes_on_where_the_page_before_ended() -> None:
    query = Query(order="state", after=Place(POSITION, ProcessState.IN_PROGRESS))

    parts = [(only.state, place) for only, place in query.parts(now_ms=0)]

    assert parts == [
        (ProcessState.IN_PROGRESS, query.after),
        *((state, None) for state in STATE_ORDER[2:]),
    ]


def test_in_the_order_of_states_overdue_processes_are_looked_for_only_where_there_can_be_any() -> None:
    query = Query(only=ProcessFilter(is_overdue=True), order="state")

    assert [only.state for only, _ in query.parts(now_ms=0)] == [ProcessState.IN_PROGRESS, ProcessState.PENDING]


@pytest.mark.parametrize(
    ("started_before_ms", "expected_ms"), [(None, 940_001), (500_000, 500_000), (2_000_000, 940_001)]
)
def test_a_least_age_narrows_the_time_in_which_processes_were_started(
    started_before_ms: int | None, expected_ms: int
) -> None:
    query = Query(only=ProcessFilter(started_before_ms=started_before_ms), min_age_ms=60_000)

    assert query.filter_at(1_000_000).started_before_ms == expected_ms
