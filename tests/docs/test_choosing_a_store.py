"""The URLs on the page about stores lead to stores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trellis_celery import errors
from trellis_celery.bootstrap import open_store
from trellis_celery.settings import Settings

PAGE = Path(__file__).parents[2] / "docs/howto/choosing-a-store.md"
#: A cluster is asked for its nodes at once, and there is none.
CONNECTS_AT_ONCE = "+cluster"


def _urls() -> list[str]:
    table = PAGE.read_text().partition("| install |")[2].partition("\n\n")[0]
    return [url for url in re.findall(r"`([a-z+]+://[^`…]*)`", table) if CONNECTS_AT_ONCE not in url]


@pytest.mark.parametrize("url", _urls())
def test_a_url_of_the_page_opens_a_store(url: str) -> None:
    assert open_store(Settings(url=url, transport_options={"master_name": "main"})) is not None


def test_the_pair_of_the_page_opens_a_store() -> None:
    (url, tracker_url) = re.findall(r'trellis_(?:tracker_)?url = "(.*?)"', PAGE.read_text())

    assert open_store(Settings(url=url, tracker_url=tracker_url)) is not None


def test_the_page_has_a_url_for_each_kind_of_store() -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        open_store(Settings(url="unknown://"))

    known = re.findall(r"([a-z]+)://", str(raised.value))
    assert [kind for kind in known if not re.search(rf"`{kind}(\+\w+)?://", PAGE.read_text())] == []
