"""Processes at the edges: as large as there may be, and no longer in the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flower.conftest import StartFlower
from tests.flower.server import Visitor, flower

pytestmark = pytest.mark.integration

OPEN = {"FLOWER_UNAUTHENTICATED_API": "true"}
#: What a browser is asked to draw at the most, however large a process is.
LARGEST_PAGE = 600_000


@pytest.fixture(scope="module")
def large(start_flower: StartFlower) -> Visitor:
    return start_flower("tests.flower.apps.large", env=OPEN).visitor()


def steps(page: str) -> list[str]:
    """Those in the table of steps."""
    return re.findall(r'data-label="Step"><bdi class="t-step">(mail_\d+)', page)


@pytest.mark.fault("X10")
def test_a_process_of_ten_thousand_steps_is_shown_some_at_a_time(large: Visitor) -> None:
    path = f"/trellis/process/{large.process_id('large-1')}"

    first, middle, last, beyond = (large.get(f"{path}?from={number}") for number in (0, 5_000, 9_950, 10_000))

    assert (steps(first.text)[0], len(steps(first.text))) == ("mail_00000", 100)
    assert (steps(middle.text)[0], steps(middle.text)[-1]) == ("mail_05000", "mail_05099")
    assert (steps(last.text)[0], steps(last.text)[-1]) == ("mail_09950", "mail_09999")
    assert "There are no steps from here on" in beyond.text
    assert "from=5100" in middle.text
    assert "from=4900" in middle.text
    assert "More steps" not in last.text
    assert "the last 200 of 301 entries" in first.text
    assert all(len(page.body) < LARGEST_PAGE for page in (first, middle, last, beyond))


@pytest.mark.parametrize("number", ["-1", "many", "9999999", "1.5", "٣"])
def test_a_step_to_begin_with_that_makes_no_sense_is_refused(large: Visitor, number: str) -> None:
    page = large.get(f"/trellis/process/{large.process_id('large-1')}", **{"from": number})

    assert page.status == 400


def test_a_large_process_is_in_the_list_without_being_looked_into(large: Visitor) -> None:
    row = large.get("/api/trellis/processes").data["processes"][0]

    assert (row["steps"], row["current"]) == ({"pending": 9_700, "in_progress": 300}, None)
    assert "0/10000" in large.get("/trellis").text


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visitor, str]]:
    """Somebody who looks, and the id of the process that is only in the archive."""
    directory: Path = tmp_path_factory.mktemp("archive")
    (directory / "flowerconfig.py").write_text(
        "from pathlib import Path\n"
        "from tests.flower.apps.archived import PROCESS_ID\n"
        "Path('process_id').write_text(PROCESS_ID)\n"
    )
    env = {**OPEN, "ARCHIVE_PATH": str(directory / "archive.db")}
    with flower("tests.flower.apps.archived", directory=directory, env=env) as server:
        yield server.visitor(), (directory / "process_id").read_text()


def test_a_process_that_has_left_the_store_is_shown_from_the_archive_and_nothing_can_be_done(
    archived: tuple[Visitor, str],
) -> None:
    visitor, process_id = archived

    page = visitor.get(f"/trellis/process/{process_id}")
    data = visitor.get(f"/api/trellis/processes/{process_id}").data
    refused = visitor.post_json(f"/api/trellis/processes/{process_id}/steps/ship/retry")

    assert page.status == 200
    assert "from the archive" in page.text
    assert "no such address" in page.text
    assert "ann@example.com" in page.text
    assert "/retry?" not in page.text
    assert "Cancel process" not in page.text
    assert (data["is_archived"], data["process"]["state"]) == (True, "failed")
    assert refused.status == 404
    assert visitor.get("/api/trellis/processes").data["processes"] == []
