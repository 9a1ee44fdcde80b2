"""What a worker's configuration says of the settings of trellis."""

from __future__ import annotations

import pytest

from trellis_celery.doctor.asking.workers import settings_in


@pytest.mark.parametrize("key", ["trellis_url", "CELERY_TRELLIS_URL", "TRELLIS_URL"])
def test_a_setting_is_found_under_every_form_of_its_name(key: str) -> None:
    assert settings_in({key: "redis://shop/1", "broker_url": "x"})["trellis_url"] == "redis://shop/1"


def test_what_is_left_out_is_its_default_so_that_saying_the_default_is_no_difference() -> None:
    assert settings_in({}) == settings_in({"trellis_strict": False, "trellis_check_interval_ms": 1_000})


def test_passwords_are_not_shown_and_what_celery_hides_is_not_compared() -> None:
    settings = settings_in({"trellis_url": "redis://:secret@shop/1", "trellis_key_prefix": "********"})

    assert settings["trellis_url"] == "redis://**@shop/1"
    assert "trellis_key_prefix" not in settings
