"""What the scripts share: servers and workers as in the tests, and a place for the results."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support import services
from tests.support.cluster import Cluster

ROOT = Path(__file__).parents[1]

__all__ = ["Cluster", "cluster", "save"]


@contextmanager
def cluster(app_module: str) -> Iterator[Cluster]:
    """An app on an embedded Valkey; everything is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with services.valkey(directory) as url:
            with closing(Cluster(app_module, redis_url=url, directory=directory)) as made:
                yield made


def save(question: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them with the versions they belong to."""
    versions = {name: version(name) for name in ("celery", "kombu", "redis", "trellis-celery")}
    found = {"question": question, "python": platform.python_version(), **versions, **figures}
    path = ROOT / "benchmarks" / "results" / f"{question}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"written to {path.relative_to(ROOT)}")
