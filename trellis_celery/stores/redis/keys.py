"""The names of all Redis keys, and of what stands for steps and leases in the sorted sets.

All keys of a process have its shard as hash tag, so they lie on one node of a cluster. What users call things never
becomes part of a key: process ids are ours, and step names are fields and members.
"""

from __future__ import annotations

from msgspec import Struct

from trellis_celery.domain.identity import SHARDS, is_process_id, shard_of
from trellis_celery.ports import Due, LeaseKey, StepKey

#: The shards in the form in which they start a process id.
ALL_SHARDS = tuple(f"{shard:x}" for shard in range(SHARDS))


class _OfShard(Struct, frozen=True):
    """The keys of a shard, made once: every commit names them all."""

    #: What the keys of a process start with; its id follows.
    process: str
    log: str
    messages: str
    deadlines: str
    leases: str
    others: tuple[str, ...]


class Keys:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        #: hash: when timed-out steps were last looked for.
        self.last_check = f"{prefix}:last_check"
        self._of_shard = {shard: self._names(shard) for shard in ALL_SHARDS}

    def deadlines(self, shard: str) -> str:
        """sorted set: step member -> deadline, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:deadlines"

    def leases(self, shard: str) -> str:
        """sorted set: lease member -> end of the lease, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:leases"

    def live(self, shard: str) -> str:
        """hash: business key -> live process"""
        return f"{self._prefix}:{{{shard}}}:live"

    def index(self, shard: str) -> str:
        """sorted set, all of score 0: entries of the lists of processes, see `listing`"""
        return f"{self._prefix}:{{{shard}}}:index"

    def types(self, shard: str) -> str:
        """set: every process type there ever was"""
        return f"{self._prefix}:{{{shard}}}:types"

    def waiting(self, shard: str) -> str:
        """sorted set: terminal process that is not archived -> its last change, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:waiting"

    def archived(self, shard: str) -> str:
        """sorted set: terminal process that is archived -> its last change, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:archived"

    def outbox(self, shard: str) -> str:
        """sorted set: process of whose log something is to be relayed -> when, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:outbox"

    def totals(self, shard: str) -> str:
        """hash: type digest, name and step -> how many there ever were, see `tallies`"""
        return f"{self._prefix}:{{{shard}}}:totals"

    def process(self, process_id: str) -> str:
        """hash: the process's data, the records of its steps, how many are in each state"""
        return self._of_shard[shard_of(process_id)].process + process_id

    def log(self, process_id: str) -> str:
        """list: what happened, oldest first"""
        return self._of_shard[shard_of(process_id)].log + process_id

    def messages(self, process_id: str) -> str:
        """hash: step -> the message of its task"""
        return self._of_shard[shard_of(process_id)].messages + process_id

    def all_of(self, process_id: str) -> list[str]:
        """Every key that has something of the process, in the order in which the scripts take them."""
        of_shard = self._of_shard[shard_of(process_id)]
        return [
            of_shard.process + process_id,
            of_shard.deadlines,
            of_shard.leases,
            of_shard.log + process_id,
            of_shard.messages + process_id,
            *of_shard.others,
        ]

    def _names(self, shard: str) -> _OfShard:
        return _OfShard(
            process=f"{self._prefix}:{{{shard}}}:process:",
            log=f"{self._prefix}:{{{shard}}}:log:",
            messages=f"{self._prefix}:{{{shard}}}:messages:",
            deadlines=self.deadlines(shard),
            leases=self.leases(shard),
            others=(
                self.live(shard),
                self.index(shard),
                self.waiting(shard),
                self.archived(shard),
                self.outbox(shard),
                self.totals(shard),
            ),
        )


def step_member(key: StepKey) -> str:
    return f"{key.process_id}|{key.step_name}"


def lease_member(key: LeaseKey) -> str:
    return f"{key.process_id}|{key.attempt}|{key.step_name}"


def read_deadline(member: bytes, score: int) -> Due:
    """Raises ValueError if the member is not one of ours."""
    process_id, step_name = member.decode().split("|", 1)
    return Due(StepKey(_ours(process_id), step_name), score)


def read_lease(member: bytes, score: int) -> Due:
    """Raises ValueError if the member is not one of ours."""
    process_id, attempt, step_name = member.decode().split("|", 2)
    return Due(StepKey(_ours(process_id), step_name), score, int(attempt))


def _ours(process_id: str) -> str:
    if not is_process_id(process_id):
        raise ValueError(f"{process_id!r} is not a process id")
    return process_id
