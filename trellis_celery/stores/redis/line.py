"""Many commands in one round trip, each with its own reply or error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trellis_celery.stores.redis.connect import Client
from trellis_celery.stores.redis.translate import as_ours, translated


class Line:
    """The way to the server. Raises StoreUnavailable if nothing comes back."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client

    def round_trip(self, fill: Callable[[Any], object]) -> list[Any]:
        """The replies to all the commands that `fill` puts into a pipeline; an error in place of a reply."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            fill(pipe)
            replies: list[Any] = pipe.execute(raise_on_error=False)
        return [as_ours(reply) if isinstance(reply, Exception) else reply for reply in replies]


def all_good(replies: Iterable[Any]) -> Iterator[Any]:
    """The replies; raises the first that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        yield reply


def whole(score: float) -> int:
    """Raises ValueError if the score is not one of our times."""
    if not score.is_integer():
        raise ValueError(f"{score} is no number of milliseconds")
    return int(score)
