from __future__ import annotations

from trellis_celery.stores.dynamodb.recent import Recent


def test_what_was_not_used_for_longest_goes_first() -> None:
    recent: Recent[int] = Recent(capacity=2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.get("a")

    recent.put("c", 3)

    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_heavy_values_take_the_place_of_several() -> None:
    recent: Recent[int] = Recent(capacity=3)
    for key in "abc":
        recent.put(key, 0)

    recent.put("d", 4, weight=2)
    recent.put("e", 5, weight=4)
    recent.put("d", 6, weight=3)

    assert [recent.get(key) for key in "abcde"] == [None, None, None, 6, None]


def test_what_is_forgotten_is_gone() -> None:
    recent: Recent[int] = Recent(capacity=1)
    recent.put("a", 1)

    recent.forget("a")
    recent.forget("a")

    assert recent.get("a") is None
