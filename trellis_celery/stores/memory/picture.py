"""Copies of processes, so that what is stored and what callers hold share nothing that can change."""

from __future__ import annotations

from msgspec.structs import replace

from trellis_celery.domain.process import Process
from trellis_celery.stores import codec


def picture_of(process: Process) -> Process:
    """An independent copy. Raises DefinitionError if the metadata are not JSON values, as every store does."""
    metadata = codec.load_json(codec.dump_json(process.metadata)) if process.metadata else {}
    return replace(process, steps=dict(process.steps), metadata=metadata)
