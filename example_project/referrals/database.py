"""The service's own database, here a few keys in Redis: what is known of a referral, and a journal of all writing."""

from functools import cache

import redis

from example_project.referrals import settings


def save(referral_id: str, what: str, value: str) -> None:
    """Store one fact about a referral. Doing it again changes nothing but the journal, where each writing is a line."""
    with _client().pipeline() as pipe:
        pipe.hset(_key("referral", referral_id), what, value)
        pipe.rpush(_key("journal", referral_id), what)
        pipe.execute()


def journal(referral_id: str) -> list[str]:
    """What was written about a referral, in order: one entry per `save`."""
    return [str(line) for line in _client().lrange(_key("journal", referral_id), 0, -1)]


def _key(kind: str, referral_id: str) -> str:
    return f"{settings.PREFIX}:{kind}:{referral_id}"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.DATABASE_URL, decode_responses=True)
