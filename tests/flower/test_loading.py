"""The tab is there when it should be, and only then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, Answer, FlowerServer, flower

pytestmark = pytest.mark.integration


def has_tab(page: Answer) -> bool:
    """Whether there is one entry for the processes in the navigation bar."""
    return len(re.findall(r'<a class="nav-link[^>]*>Processes</a>', page.text)) == 1


@pytest.fixture(scope="module")
def by_itself(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP)


@pytest.fixture(scope="module")
def prefixed(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, BASIC_AUTH, prefix="/ops")


@pytest.mark.parametrize("page", ["/", "/workers", "/tasks", "/trellis"])
def test_every_page_of_flower_has_the_tab(by_itself: FlowerServer, page: str) -> None:
    answer = by_itself.visitor().get(page)

    assert (answer.status, has_tab(answer)) == (200, True)
    assert 'href="/trellis"' in answer.text


def test_with_a_prefix_everything_of_ours_is_under_it(prefixed: FlowerServer) -> None:
    ann = prefixed.visitor(ANN)

    pages = [ann.get(path) for path in ("/", "/trellis", "/trellis/incidents", "/api/trellis/processes")]

    assert [page.status for page in pages] == [200] * 4
    assert 'href="/ops/trellis"' in pages[0].text
    assert 'href="/trellis' not in pages[1].text
    assert "/ops/trellis/static/trellis.css" in pages[1].text


def test_one_line_in_the_configuration_of_flower_adds_it(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from celery import Celery\n"
        "app = Celery('late', broker='memory://', set_as_current=False)\n"
        "app.conf.trellis_url = 'memory://'\n"
    )
    (tmp_path / "flowerconfig.py").write_text(
        "from late import app\n"
        "from trellis_celery import Trellis\n"
        "Trellis(app)\n"
        "from trellis_celery.flower import install; install(); install()\n"
    )

    with flower("late", directory=tmp_path) as server:
        answer = server.visitor().get("/trellis")

        assert (answer.status, has_tab(answer)) == (200, True)


def test_an_app_without_a_trellis_has_no_tab(start_flower: StartFlower) -> None:
    visitor = start_flower("tests.flower.apps.bare").visitor()

    assert not has_tab(visitor.get("/"))
    assert visitor.get("/trellis").status == 404


def test_where_it_was_added_by_hand_an_app_without_a_trellis_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "flowerconfig.py").write_text("from trellis_celery.flower import install; install()\n")

    with flower("tests.flower.apps.bare", directory=tmp_path) as server:
        page, home = server.visitor().get("/trellis"), server.visitor().get("/")

    assert page.status == 404
    assert "make a Trellis(app)" in page.text
    assert (home.status, has_tab(home)) == (200, False)


def test_a_store_that_does_not_answer_does_not_keep_flower_from_starting(start_flower: StartFlower) -> None:
    visitor = start_flower("tests.flower.apps.cut_off").visitor()

    assert visitor.get("/tasks").status == 200


def test_a_program_with_two_apps_has_the_tab_for_the_one_that_flower_was_started_for(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from celery import Celery\n"
        "from trellis_celery import Trellis\n"
        "app, other = (Celery(name, broker='memory://', set_as_current=False) for name in ('one', 'two'))\n"
        "for each in (app, other):\n"
        "    each.conf.trellis_url = 'memory://'\n"
        "    Trellis(each)\n"
    )

    with flower("two:app", directory=tmp_path) as server:
        answer = server.visitor().get("/trellis")

        assert (answer.status, has_tab(answer)) == (200, True)
