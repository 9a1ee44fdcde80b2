"""The groups in which a process's contents are stored."""

from __future__ import annotations

from random import Random

import pytest

from trellis_celery import errors
from trellis_celery.domain.process import MAX_STEPS, Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores.dynamodb.definitions import MOST_PARTS, PART_SIZE
from trellis_celery.stores.dynamodb.repositories import groups
from trellis_celery.stores.dynamodb.repositories.groups import Contents
from trellis_celery.stores.dynamodb.repositories.known_groups import WRITES_IN_TRANSACTION


def _process(count: int, **metadata: object) -> Process:
    return Process.start(
        tenant_id="t",
        process_type="p",
        aggregate_type="a",
        aggregate_id="1",
        steps=[ProcessStep(f"step-{number}") for number in range(count)],
        metadata=metadata,
    )


def _stored_and_read(number: int, contents: Contents, *, lose_last: bool = False) -> Contents | None:
    group, items = groups.dump_group("p", number, groups.dump_contents(contents), label="l")
    found = dict(zip(groups.keys_of("p", number, group), items, strict=True))
    if lose_last:
        found.popitem()
    return groups.load_group("p", number, group, found)


@pytest.mark.parametrize("count", [1, groups.STEPS_PER_GROUP, groups.STEPS_PER_GROUP + 1, 1_000])
def test_what_is_read_is_what_was_stored(count: int) -> None:
    metadata, *steps = groups.contents_of(_process(count, note="é"))

    read = [_stored_and_read(number, each) for number, each in enumerate([metadata, *steps])]

    assert read == [metadata, *steps]
    assert sum(len(each) for each in steps) == count


def test_the_largest_process_is_added_in_one_transaction() -> None:
    contents = groups.contents_of(_process(MAX_STEPS))

    items = [groups.dump_group("p", *each, label="l")[1] for each in enumerate(map(groups.dump_contents, contents))]

    assert sum(map(len, items)) <= WRITES_IN_TRANSACTION


def test_long_contents_take_several_items_all_of_which_are_needed() -> None:
    metadata = Random(1).randbytes(PART_SIZE + 1)

    assert _stored_and_read(0, metadata) == metadata
    assert _stored_and_read(0, metadata, lose_last=True) is None


def test_contents_that_are_too_long_are_refused() -> None:
    data = Random(1).randbytes(MOST_PARTS * PART_SIZE)

    with pytest.raises(errors.StoreError, match="the metadata take"):
        groups.dump_group("p", 0, data, label="l")


@pytest.mark.parametrize("data", [b"", b"{", b"1", b"[[1]]", b'[["step", "x", ""]]', b'[["step", 1, "[]"]]'])
def test_damaged_steps_are_told(data: bytes) -> None:
    group, items = groups.dump_group("p", 1, data, label="l")
    found = dict(zip(groups.keys_of("p", 1, group), items, strict=True))

    with pytest.raises(errors.CorruptRecord):
        groups.load_group("p", 1, group, found)


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = (groups.Group("label", 2, "digest"), groups.Group("other", 1, "é"))

    assert groups.load_manifest(groups.dump_manifest(manifest)) == manifest
