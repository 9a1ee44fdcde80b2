from __future__ import annotations

from itertools import product
from uuid import uuid4

import pytest

from trellis_celery.domain.identity import SHARDS, BusinessKey, new_process_id
from trellis_celery.domain.queries import Finished, Position
from trellis_celery.stores import classes
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.tables import INDEXES, describe
from trellis_celery.testing.contract.identifiers import HOSTILE

LONGEST = "😀" * 512
PROCESS_ID = "f-" + "0" * 32


@pytest.mark.parametrize("name", [LONGEST, *HOSTILE])
def test_no_key_is_longer_than_dynamodb_takes(name: str) -> None:
    key = BusinessKey(tenant_id=name, process_type=name, aggregate_type=name, aggregate_id=name)
    items = [
        keys.head(PROCESS_ID),
        keys.definition(PROCESS_ID, 39),
        keys.step(PROCESS_ID, name),
        keys.message(PROCESS_ID, name, 9),
        keys.log(PROCESS_ID, name, 10**9, at_ms=10**15, number=10**9),
        keys.live(key),
    ]

    assert all(len(item.pk.encode()) <= 2_048 and len(item.sk.encode()) <= 1_024 for item in items)
    assert all(len(value) <= 100 for value in keys.list_partitions(PROCESS_ID, key).values())


def test_names_that_look_alike_have_different_keys() -> None:
    names = ["", *HOSTILE, LONGEST]

    assert len({keys.step(PROCESS_ID, name) for name in names}) == len(names)
    assert len({keys.message(PROCESS_ID, name) for name in names}) == len(names)


def test_the_parts_of_a_business_key_do_not_run_together() -> None:
    texts = ("a", "a#a", "#", "a#")
    found = {
        keys.live(BusinessKey(tenant_id=one, process_type=two, aggregate_type=three, aggregate_id=four))
        for one, two, three, four in product(texts, repeat=4)
    }

    assert len(found) == len(texts) ** 4


def test_positions_are_in_the_order_of_their_texts() -> None:
    ids = [f"{shard:x}-{uuid4().hex}" for shard in range(SHARDS)]
    positions = [Position(at_ms, process_id) for at_ms in (0, 9, 10, 1_800_000_000_000) for process_id in ids]

    texts = [keys.position(*position) for position in positions]

    assert [keys.read_position(text) for text in sorted(texts)] == sorted(positions)
    assert keys.read_finished(texts[0]) == Finished(*positions[0])


def test_every_shard_of_processes_has_a_part_of_the_lists() -> None:
    shards = [keys.list_shard(f"{shard:x}-{'0' * 32}") for shard in range(SHARDS)]

    assert {shards.count(shard) for shard in keys.ALL_LIST_SHARDS} == {SHARDS // keys.LIST_SHARDS}


def test_every_attribute_that_lists_are_found_by_has_an_index() -> None:
    key = BusinessKey(tenant_id="a", process_type="b", aggregate_type="c", aggregate_id="d")
    process_id = new_process_id(key)
    of_class = [keys.class_partitions(process_id, key, number) for number in range(len(classes.CLASSES))]

    names = {*keys.list_partitions(process_id, key), *of_class[0]}

    assert names == {name for name in INDEXES if name.startswith("list_")}
    assert len({partitions["list_all_class"] for partitions in of_class}) == len(classes.CLASSES)


def test_the_table_is_described_as_dynamodb_wants_it() -> None:
    described = describe("orders")

    types = {one["AttributeName"] for one in described["AttributeDefinitions"]}
    schemas = [described["KeySchema"], *(index["KeySchema"] for index in described["GlobalSecondaryIndexes"])]
    assert types == {part["AttributeName"] for schema in schemas for part in schema}  # neither more nor less
    assert len(described["GlobalSecondaryIndexes"]) <= 20
