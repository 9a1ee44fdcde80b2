"""However many names there are, there are only so many time series."""

from __future__ import annotations

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.queries import EventGroup
from trellis_celery.monitoring.cardinality import Names


def events(**counts: int) -> dict[EventGroup, int]:
    """How often `Type__step` was started."""
    groups = [name.split("__") for name in counts]
    return {
        EventGroup(group[0], group[1], EventKind.STEP_STARTED): count
        for group, count in zip(groups, counts.values(), strict=True)
    }


def test_names_within_the_bound_are_kept() -> None:
    names = Names(most_types=2, most_steps=2)

    names.learn(["A"], events(B__x=1, B__y=1))

    assert (names.process_type("A"), names.process_type("B")) == ("A", "B")
    assert names.step("B", "x") == ("B", "x")


def test_types_beyond_the_bound_are_one() -> None:
    names = Names(most_types=1)

    names.learn([], events(A__x=1, B__x=2))

    assert (names.process_type("B"), names.process_type("A")) == ("B", "other")
    assert names.step("A", "x") == ("other", "other")


def test_steps_beyond_the_bound_are_one_in_each_type() -> None:
    names = Names(most_steps=1)

    names.learn([], events(A__x=1, A__y=2, B__x=1))

    assert [names.step("A", "y"), names.step("A", "x"), names.step("B", "x")] == [
        ("A", "y"),
        ("A", "other"),
        ("B", "other"),
    ]


def test_a_name_keeps_its_series_whatever_comes_later() -> None:
    names = Names(most_types=1, most_steps=1)
    names.learn([], events(B__x=1))

    names.learn([], events(A__x=9, B__x=1, B__a=9))

    assert names.step("B", "x") == ("B", "x")
    assert names.step("B", "a") == ("B", "other")
    assert names.process_type("A") == "other"
