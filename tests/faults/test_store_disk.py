"""The disk below the store: what a power failure leaves of its file, and a file system that is full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer, store_of
from tests.support.services import not_permitted
from tests.support.waiting import eventually
from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, Committed
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.audit import assert_consistent, stored_process

pytestmark = pytest.mark.integration

TIMED = ProcessStep("step", timeout_ms=60_000, retries_permitted=2)
APPENDED = ("--appendonly", "yes", "--appendfsync", "everysec")


def lived_through(store: RedisStore) -> Process:
    """A process of which everything was written that there is: steps, messages, leases, ends."""
    process = builders.created(store, TIMED, ProcessStep("other"))
    for name in process.steps:
        now_ms = store.now_ms()
        builders.apply(store, process, builders.queue(at_ms=now_ms), name, message=b"message")
        builders.apply(store, process, builders.start(at_ms=now_ms, is_leased=True), name, lease_ms=5_000)
        builders.apply(store, process, builders.complete(at_ms=now_ms), name)
    return process


@pytest.mark.fault("S4")
def test_s4_wherever_a_power_failure_cuts_the_file_each_write_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    with RedisServer(whole, *APPENDED) as server, store_of(server.url()) as store:
        processes = [lived_through(store) for _ in range(3)]
        with server.client() as client:  # while an earlier part goes to the disk, what comes after it waits in memory
            eventually(lambda: client.info("persistence")["aof_buffer_length"] == 0, what="all in the file")
        server.kill()
    (log,) = whole.glob("appendonlydir/*.incr.aof")
    length = log.stat().st_size
    seen = set()

    for number in range(1, 25):
        kept = length * number // 25
        directory = tmp_path / f"cut-{number}"
        shutil.copytree(whole, directory)
        os.truncate(next(directory.glob("appendonlydir/*.incr.aof")), kept)
        with RedisServer(directory, *APPENDED) as server, store_of(server.url()) as store:
            assert_consistent(store, [process.id for process in processes])
            seen.add(_go_on(store, processes))

    assert len(seen) > 12, "the cuts are all the same"


def _go_on(store: RedisStore, processes: list[Process]) -> tuple[object, ...]:
    """How far each process is; then all that is still there is done."""
    found = [stored_process(store, process.id) for process in processes]
    versions = tuple(None if one is None else tuple(step.version for step in one.steps.values()) for one in found)
    for one in filter(None, found):
        for name, step in one.steps.items():
            if not step.state.is_terminal:
                builders.apply(store, one, builders.complete(at_ms=store.now_ms()), name)
        assert store.load(one.id).is_completed()
    return versions


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of a few megabytes."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        not_permitted("nobody may mount a file system here")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> Path:
    """Until not a byte is left."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.fault("S5")
def test_s5_on_a_full_disk_writes_are_refused_as_a_whole_and_reads_are_answered(small_disk: Path) -> None:
    with RedisServer(small_disk, *APPENDED) as server, store_of(server.url()) as store:
        written = [lived_through(store)]
        filler = fill(small_disk)
        with pytest.raises(errors.StoreUnavailable, match="MISCONF"):
            _write_without_end(store, written)
        ids = [process.id for process in written]
        before = [store.load(process_id) for process_id in ids]
        change = builders.change(written[-1], builders.start(at_ms=store.now_ms(), is_leased=True), lease_ms=5_000)

        (refused,) = store.commit([change])

        assert isinstance(refused, errors.StoreUnavailable)
        assert [store.load(process_id) for process_id in ids] == before
        filler.unlink()
        assert isinstance(_again(store, change), Committed)
        server.kill()
        server.start()
        assert_consistent(store, ids)
        assert store.load(written[-1].id).step("step").state == "in_progress"


def _write_without_end(store: RedisStore, written: list[Process]) -> None:
    """What the server takes until it notices is in its memory."""
    while True:
        written.append(builders.created(store, TIMED))


def _again(store: RedisStore, change: Change) -> object:
    """The outcome of the change once the server has noticed that there is room."""
    outcome: object = None

    def is_written() -> bool:
        nonlocal outcome
        (outcome,) = store.commit([change])
        return not isinstance(outcome, errors.StoreUnavailable)

    eventually(is_written, what="written")
    return outcome
