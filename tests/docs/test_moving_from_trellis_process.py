"""The page about moving over names what somebody who has repositories of their own must write."""

from __future__ import annotations

from pathlib import Path

import pytest

from trellis_celery import ProcessRepository, StepTrackerRepository

PAGE = Path(__file__).parents[2] / "docs/howto/moving-from-trellis-process.md"


@pytest.mark.parametrize("repository", [ProcessRepository, StepTrackerRepository], ids=lambda each: each.__name__)
def test_every_method_that_a_repository_must_have_is_named(repository: type) -> None:
    (table,) = [part for part in PAGE.read_text().split("\n\n") if part.startswith(f"| `{repository.__name__}`")]

    missing = [name for name in repository.__abstractmethods__ if f"`{name}`" not in table and f"`{name}(" not in table]  # type: ignore[attr-defined]

    assert missing == []
