"""The process types that this program knows: those whose classes have been imported."""

from __future__ import annotations

from collections.abc import Iterator

from trellis_celery.domain.definitions import ProcessType


def process_types() -> dict[str, type[ProcessType]]:
    """By stored name, in the order of declaration. Of two with one name, the later."""
    return {each.type_name: each for each in _below(ProcessType)}


def told(process_type: type[ProcessType]) -> str:
    """The first line of what its team wrote about it."""
    return (process_type.__doc__ or "").strip().partition("\n")[0]


def _below(process_type: type[ProcessType]) -> Iterator[type[ProcessType]]:
    for each in process_type.__subclasses__():
        yield each
        yield from _below(each)
