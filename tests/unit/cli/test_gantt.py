from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.pages import START_MS, Shop, plain
from trellis_celery.cli.gantt import ASCII, UNICODE, Glyphs, gantt, glyphs_for
from trellis_celery.cli.visible import width
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeline import timeline_of


def drawn(shop: Shop, process_id: str, *, columns: int = 40) -> list[str]:
    now_ms = shop.clock.now_ms()
    timeline = timeline_of(shop.service.get_process(process_id), shop.service.history(process_id), now_ms=now_ms)
    return plain(gantt(timeline, now_ms=now_ms, columns=columns)).splitlines()


def test_each_step_has_a_bar_as_long_as_it_took_and_what_happened_in_it() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.clock.advance(60_000)
    shop.check()
    shop.service.complete_step(order, "ship")
    shop.clock.advance(60_000)
    shop.service.complete_step(order, "charge")

    assert drawn(shop, order, columns=27) == [
        "charge ░░░░░░░░░░!········✓",
        "ship             ✓",
        "       0           +2.0 min",
        "· waiting   ░ lost",
        "! timed out   ✓ completed",
    ]


def test_a_run_that_goes_on_reaches_the_edge_and_its_deadline_is_told_behind_it() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.clock.advance(5_000)

    charge, *_, legend = drawn(shop, order)

    assert charge.endswith("█ › 55.0 s")
    assert legend == "█ running   › deadline in"


def test_a_deadline_within_the_picture_is_marked_in_it() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.clock.advance(45_000)

    charge, *_, legend = drawn(shop, order)

    assert charge == "charge " + "█" * 24 + " " * 8 + "│"
    assert legend == "█ running   │ deadline"


def test_a_short_run_is_seen_however_long_its_process_takes() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.service.fail_step(order, "charge", "no")
    shop.clock.advance(30 * 86_400_000)

    charge, *_ = drawn(shop, order)

    assert "✗" in charge


def test_only_what_is_to_be_seen_is_explained() -> None:
    shop = Shop()
    order = shop.order()
    shop.service.start_step(order, "charge")
    shop.clock.advance(5_000)
    now_ms = shop.clock.now_ms()
    timeline = timeline_of(shop.service.get_process(order), shop.service.history(order), now_ms=now_ms)

    picture = plain(gantt(timeline, now_ms=now_ms, columns=40, glyphs=ASCII))

    assert picture.splitlines()[-1] == "= running   ) deadline in"


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_it_can_be_read_without_colours(glyphs: Glyphs) -> None:
    assert len(set(glyphs.all)) == len(glyphs.all)
    assert all(width(glyph) == 1 for glyph in glyphs.all)


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII)]
)
def test_only_characters_are_used_that_can_be_written(encoding: str | None, glyphs: Glyphs) -> None:
    assert glyphs_for(encoding) is glyphs


_EVENTS = st.builds(
    Event,
    kind=st.sampled_from(EventKind),
    step_name=st.just("step"),
    attempt=st.integers(0, 3),
    occurred_at_ms=st.integers(START_MS, START_MS + 10_000_000),
)


@given(st.lists(_EVENTS, max_size=12), st.integers(0, 10_000_000), st.integers(40, 200))
def test_it_never_gets_wider_than_it_may(log: list[Event], elapsed_ms: int, columns: int) -> None:
    process = Process.start(
        tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1",
        steps=[ProcessStep("step", timeout_ms=1_000)], now_ms=START_MS,
    )  # fmt: skip
    process.start_step("step", now_ms=START_MS)

    timeline = timeline_of(process, log, now_ms=START_MS + elapsed_ms)
    picture = plain(gantt(timeline, now_ms=START_MS + elapsed_ms, columns=columns))

    assert max(map(width, picture.splitlines())) <= columns
