from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from trellis_celery.domain.identity import SHARDS
from trellis_celery.ports import Due, LeaseKey, StepKey
from trellis_celery.stores.redis.keys import ALL_SHARDS, Keys, lease_member, read_deadline, read_lease, step_member

PROCESS_IDS = st.from_regex(r"[0-9a-f]-[0-9a-f]{32}", fullmatch=True)
STEP_NAMES = st.text(max_size=30).filter(lambda name: name.isprintable())
ID = "a-" + "0" * 32


def _all_of(keys: Keys, process_id: str) -> list[str]:
    shard = process_id[0]
    return [
        keys.process(process_id),
        keys.log(process_id),
        keys.messages(process_id),
        keys.deadlines(shard),
        keys.leases(shard),
        keys.live(shard),
        keys.index(shard),
        keys.types(shard),
        keys.waiting(shard),
        keys.archived(shard),
    ]


@given(PROCESS_IDS)
def test_all_keys_of_a_process_lie_on_one_node_of_a_cluster(process_id: str) -> None:
    keys = _all_of(Keys("trellis"), process_id)

    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_all_keys_of_a_process_are_different() -> None:
    keys = _all_of(Keys("trellis"), ID)

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("prefix", ["trellis", "a:b", "", "with space", "é"])
def test_every_key_starts_with_the_prefix(prefix: str) -> None:
    keys = Keys(prefix)

    assert all(key.startswith(f"{prefix}:") for key in [*_all_of(keys, ID), keys.last_check])


def test_the_shards_are_what_process_ids_start_with() -> None:
    assert len(ALL_SHARDS) == SHARDS
    assert all(re.fullmatch("[0-9a-f]", shard) for shard in ALL_SHARDS)


@given(PROCESS_IDS, STEP_NAMES, st.integers(0, 2**53))
def test_the_member_of_a_step_is_read_back(process_id: str, step_name: str, score: int) -> None:
    key = StepKey(process_id, step_name)

    assert read_deadline(step_member(key).encode(), score) == Due(key, score)


@given(PROCESS_IDS, STEP_NAMES, st.integers(0, 10_000), st.integers(0, 2**53))
def test_the_member_of_a_lease_is_read_back(process_id: str, step_name: str, attempt: int, score: int) -> None:
    member = lease_member(LeaseKey(process_id, step_name, attempt))

    assert read_lease(member.encode(), score) == Due(StepKey(process_id, step_name), score, attempt)


@given(st.lists(st.tuples(PROCESS_IDS, STEP_NAMES, st.integers(0, 99)), min_size=2, max_size=2, unique=True))
def test_different_leases_have_different_members(leases: list[tuple[str, str, int]]) -> None:
    one, other = (lease_member(LeaseKey(*lease)) for lease in leases)

    assert one != other


@pytest.mark.parametrize(
    "member", [b"", b"|", b"nonsense", b"\xff", ID.encode(), f"{ID[:-1]}|step".encode(), f" {ID}|step".encode()]
)
def test_a_member_that_is_not_ours_is_refused(member: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
        read_deadline(member, 1)


@pytest.mark.parametrize("member", [b"", f"{ID}|step".encode(), f"{ID}|x|step".encode(), f"{ID}||step".encode()])
def test_a_lease_without_an_attempt_is_refused(member: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
        read_lease(member, 1)
