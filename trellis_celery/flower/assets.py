"""Our style sheet, script and pictures: in the package, and nowhere else."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from tornado.web import StaticFileHandler

from trellis_celery.flower import security

_DIRECTORY = Path(__file__).parent / "static"


class Assets(StaticFileHandler):
    """Files that are no secret: they need no login, as Flower's own do not."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(path=str(_DIRECTORY))

    def set_default_headers(self) -> None:
        security.set_headers(self)


@cache
def version_of(name: str) -> str:
    """Changes when the file does, so that browsers may keep it."""
    return hashlib.blake2s((_DIRECTORY / name).read_bytes(), digest_size=6).hexdigest()
