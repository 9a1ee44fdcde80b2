from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain.identity import (
    MAX_IDENTIFIER_LENGTH,
    SHARDS,
    BusinessKey,
    is_process_id,
    new_process_id,
    require_identifier,
    require_process_id,
    shard_of,
)

#: Stored data rely on these numbers.
SHARDS_OF_FIRST_EIGHT = [6, 0, 10, 12, 15, 9, 3, 5]


def key(aggregate_id: str) -> BusinessKey:
    return BusinessKey(tenant_id="t", process_type="T", aggregate_type="A", aggregate_id=aggregate_id)


@pytest.mark.fault("A10")
@pytest.mark.parametrize("value", [" ", "a:b{c}*?[d]|#", "😀", "é", '"', "x" * MAX_IDENTIFIER_LENGTH])
def test_any_printable_text_is_an_identifier_and_stays_as_it_is(value: str) -> None:
    assert require_identifier("field", value) == value


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        (None, "is not a string"),
        (b"bytes", "is not a string"),
        ("x" * (MAX_IDENTIFIER_LENGTH + 1), "is longer than"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\u2028b", "control characters"),
        ("\udcff", "broken Unicode"),
    ],
)
def test_what_a_store_cannot_hold_is_refused_with_the_reason(value: Any, problem: str) -> None:
    with pytest.raises(errors.InvalidIdentifier, match=problem) as raised:
        require_identifier("tenant_id", value)

    assert (raised.value.field, raised.value.value) == ("tenant_id", value)
    assert len(str(raised.value)) < 200


def test_a_process_id_is_new_each_time_and_tells_the_shard_of_its_key() -> None:
    first, second = (new_process_id(key("1")) for _ in range(2))

    assert first != second
    assert shard_of(first) == shard_of(second) == f"{key('1').shard:x}"
    assert require_process_id(first) == first


def test_the_shard_of_a_key_never_changes() -> None:
    assert [key(str(number)).shard for number in range(8)] == SHARDS_OF_FIRST_EIGHT


def test_keys_are_spread_over_all_shards() -> None:
    assert {key(str(number)).shard for number in range(500)} == set(range(SHARDS))


@pytest.mark.parametrize("value", ["", "0", None, 7, "0-" + "0" * 31, "g-" + "0" * 32, "0-" + "0" * 32 + "\n", "../x"])
def test_what_has_not_the_form_of_a_process_id_is_no_process(value: Any) -> None:
    assert not is_process_id(value)
    with pytest.raises(errors.ProcessNotFound):
        require_process_id(value)
