"""Other companies' systems, which in this example only pretend to work.

Each answers after a third of a second. `make_slow` lets one take longer, once: what outages and overload do in life.
"""

import time
from functools import cache

import redis

from example_project.referrals import settings

USUAL_MS = 300


def ask(partner: str, referral_id: str) -> str:
    """Send a request to a partner and wait for its answer."""
    slow_ms = _client().getdel(_key(partner, referral_id))
    time.sleep(int(slow_ms or USUAL_MS) / 1000)
    return f"{partner} says yes to {referral_id}"


def make_slow(partner: str, referral_id: str, *, for_ms: int) -> None:
    """Let the partner's next answer about a referral take this long."""
    _client().set(_key(partner, referral_id), for_ms)


def _key(partner: str, referral_id: str) -> str:
    return f"{settings.PREFIX}:slow:{partner}:{referral_id}"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.DATABASE_URL, decode_responses=True)
