"""Break everything for a while, and see that nothing is lost: ``make chaos MINUTES=10 SEED=7 BROKER=rabbitmq``.

Two workers, two beats, a store with an append-only file, and Redis (which comes back empty) or RabbitMQ as the broker.
The faults, their order, targets and lengths are decided by the seed. Exit status 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import as_json, as_text
from tests.chaos.soak import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long things break (default: 10)")
    parser.add_argument("--seed", type=int, help="decides what breaks when (default: a new one)")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--every", type=float, default=0.8, metavar="S", help="seconds between two orders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    soak = Soak(seconds=60 * given.minutes, seed=seed, broker=given.broker, every_s=given.every)
    print(f"seed {seed}: {len(soak.blows)} faults in {given.minutes:g} minutes, broker {given.broker}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        report = soak.run(Path(directory), tell=lambda line: print(line, flush=True))
    print(as_text(report))
    if given.json:
        given.json.write_text(as_json(report))
    return 0 if report.verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
