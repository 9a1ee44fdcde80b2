"""Two ways beside each other: in turns, A B A B …, on one core if need be, and the ratio of neighbours.

So both meet the same machine at the same time. Separate runs of the same work differ by more than what is looked for.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Spread = dict[str, float]


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and every program that it starts meanwhile, on one core: no figure is the wake-up of another."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def timed(do: Callable[[], object]) -> float:
    """Seconds."""
    began_s = time.perf_counter()
    do()
    return time.perf_counter() - began_s


def in_turns(*blocks: Callable[[], float], rounds: int) -> list[list[float]]:
    """What each block returns, round by round; the first round is for warming up."""
    found = [[block() for block in blocks] for _ in range(rounds + 1)]
    return [list(of_block) for of_block in zip(*found[1:], strict=True)]


def spread(values: Sequence[float], *, digits: int = 3) -> Spread:
    """The median and the quartiles."""
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": round(median, digits), "q1": round(q1, digits), "q3": round(q3, digits)}


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of neighbours."""
    return spread([one / other for one, other in zip(over, under, strict=True)])
