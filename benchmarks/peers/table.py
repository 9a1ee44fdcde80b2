"""Who is compared, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    folder: str
    #: How many a round of throughput runs: some seconds' work. 0: it takes no part.
    processes: int = 0
    has_setup: bool = False
    #: The commands that run beside a worker.
    beside: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    #: What is different for the worker that comes after the killed one.
    env_again: Mapping[str, str] = field(default_factory=dict)
    #: How often a worker is killed.
    kills: int = 1
    #: The body runs again late or never: such peers, and their kills, are waited for all at the same time.
    is_slow: bool = False

    @property
    def path(self) -> Path:
        return HERE / self.folder

    @property
    def is_python(self) -> bool:
        return (self.path / "app.py").exists()


PEERS = (
    Peer(name="trellis-celery", folder="trellis", processes=2_000, beside=("beat",), kills=3),
    Peer(name="Celery", folder="plain", processes=2_000, is_slow=True),
    Peer(name="Celery, acks_late", folder="plain", env={"ACKS_LATE": "1"}, is_slow=True),
    Peer(name="celery-director", folder="director", processes=500, has_setup=True, is_slow=True),
    Peer(name="relier", folder="relier", processes=500, beside=("resurrect",), kills=3),
    Peer(name="procrastinate", folder="procrastinate", processes=1_000, has_setup=True, is_slow=True),
    Peer(name="DBOS", folder="dbos", processes=500, has_setup=True, kills=3),
    Peer(
        name="DBOS, another executor",
        folder="dbos",
        has_setup=True,
        env_again={"DBOS__VMID": "another"},
        is_slow=True,
    ),
    Peer(name="BullMQ", folder="bullmq", processes=10_000, kills=3, is_slow=True),
)
