"""How does trellis-celery compare with others that run steps one after the other?

Throughput: processes/s of three steps that do nothing, from a full queue, one worker each, the systems in turns.
Recovery: a worker is killed with `kill -9` while a step runs, and started again two seconds later: how long after the
kill does the body run again, with default settings? Both may lose the last moment when the power fails: Redis writes
its file once a second, PostgreSQL does not wait for the disk (with that it is up to twice as slow here).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psycopg

from benchmarks.harness import RESULTS, Figures, save, say, server, server_version
from benchmarks.peers import environments
from benchmarks.peers.running import running
from benchmarks.peers.table import PEERS, Peer
from tests.support import databases
from tests.support.waiting import eventually

OURS = "trellis-celery"
BODY_MS = 4_000
AGAIN_AFTER_S = 2
ROUND_TAKES_S = 180


class Effort(NamedTuple):
    rounds: int
    #: Of the processes that a round runs.
    part: float = 1
    patience_s: float = 100


# Throughput


def throughput(peers: Sequence[Peer], effort: Effort, *, postgresql: str) -> Figures:
    """Processes/s round by round, and how ours compare with each of the others in the same rounds."""
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(effort.rounds):
        for peer in peers:
            rate = one_round(peer, int(peer.processes * effort.part), postgresql)
            rates[peer.name].append(rate)
            say(f"round {number + 1} of {effort.rounds}, {peer.name}: {rate:.0f} processes/s")
    ours = rates.get(OURS, [])
    return {
        "processes_per_s": {name: spread(of_it, digits=0) for name, of_it in rates.items()},
        "ours_to": {
            name: spread(ratios(ours, of_it), digits=2) for name, of_it in rates.items() if ours and name != OURS
        },
    }


def one_round(peer: Peer, processes: int, postgresql: str) -> float:
    """Processes/s, from the first body to the last."""
    with running(peer, postgresql) as run:
        run.call("start", processes, 0)
        run.launch_beside()
        run.launch("work")
        run.wait_for("last", times=processes, within_s=ROUND_TAKES_S)
        return processes / (max(run.times("last")) - min(run.times("first")))


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(over, under, strict=True)]


def spread(values: Sequence[float], *, digits: int) -> Figures:
    short = [round(value, digits or None) for value in values]
    return {"median": round(statistics.median(values), digits or None), "all": short}


# Recovery


def recovery(peers: Sequence[Peer], effort: Effort, *, postgresql: str) -> Figures:
    """Seconds from the kill until the body runs again, or that it did not."""
    found: dict[str, list[float | None]] = {peer.name: [] for peer in peers}

    def kill(peer: Peer) -> None:
        seconds = one_kill(peer, effort.patience_s, postgresql)
        found[peer.name].append(seconds)
        say(f"{peer.name}: {'not again' if seconds is None else f'{seconds:.1f} s'}")

    kills = [peer for peer in peers for _ in range(peer.kills)]
    for peer in kills:
        if not peer.is_slow:
            kill(peer)
    slow = [peer for peer in kills if peer.is_slow]
    with ThreadPoolExecutor(len(slow) or 1) as pool:
        list(pool.map(kill, slow))
    return {name: in_words(seconds, effort.patience_s) for name, seconds in found.items()}


def one_kill(peer: Peer, patience_s: float, postgresql: str) -> float | None:
    """Seconds until the body runs again; None if it does not."""
    with running(peer, postgresql) as run:
        run.launch_beside()
        worker = run.launch("work")
        run.call("start", 1, BODY_MS)
        run.wait_for("middle", times=1, within_s=60)
        time.sleep(1)
        worker.kill()
        killed_at = time.time()
        time.sleep(AGAIN_AFTER_S)
        run.launch("work", env=peer.env_again)
        try:
            eventually(lambda: len(run.times("middle")) > 1, within_s=patience_s - AGAIN_AFTER_S)
        except AssertionError:
            return None
        return run.times("middle")[1] - killed_at


def in_words(seconds: Sequence[float | None], patience_s: float) -> object:
    known = [one for one in seconds if one is not None]
    return spread(known, digits=1) if len(known) == len(seconds) else f"not within {patience_s:.0f} s"


# Both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of throughput; 5 if not given")
    parser.add_argument(
        "--question", choices=["throughput", "recovery"], help="ask this one, and keep the other's answer"
    )
    parser.add_argument("--only", nargs="+", choices=[peer.name for peer in PEERS], metavar="PEER", help="keep nothing")
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast; keep nothing")
    given = parser.parse_args()
    peers = [peer for peer in PEERS if not given.only or peer.name in given.only]
    effort = Effort(1, part=0.05, patience_s=15) if given.quick else Effort(given.rounds)
    for peer in peers:
        environments.interpreter(peer)
    with TemporaryDirectory() as name, databases.postgresql(Path(name)) as own:
        postgresql = own.url.replace("+psycopg", "")
        figures: Figures = {"versions": versions(peers, postgresql)}
        if given.question != "recovery":
            many = [peer for peer in peers if peer.processes]
            figures["throughput"] = throughput(many, effort, postgresql=postgresql)
        if given.question != "throughput":
            figures["recovery_s"] = recovery(peers, effort, postgresql=postgresql)
    if given.only or given.quick:
        print(json.dumps(figures, indent=2))
    else:
        save("peers", {**kept(), **figures})


def versions(peers: Sequence[Peer], postgresql: str) -> Figures:
    with server() as redis_url, psycopg.connect(postgresql) as connection:
        servers = [server_version(redis_url), f"PostgreSQL {connection.info.parameter_status('server_version')}"]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    required = {peer.folder: environments.versions(peer) for peer in peers}
    return {"servers": servers, "node": node, **{folder: found for folder, found in required.items() if found}}


def kept() -> Figures:
    """What is known of the question that is not asked."""
    path = RESULTS / "peers.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    return {name: before[name] for name in ("throughput", "recovery_s") if name in before}


if __name__ == "__main__":
    main()
