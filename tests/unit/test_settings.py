from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from celery import Celery

from trellis_celery import errors
from trellis_celery.settings import Settings

NUMBERS = [field.name for field in fields(Settings) if field.type == "int"]
MAY_BE_ZERO = ["retention_ms"]


def test_the_defaults_make_sense() -> None:
    settings = Settings()

    assert (settings.url, settings.key_prefix, settings.strict) == ("", "trellis", False)
    assert settings.renew_interval_ms * 5 == settings.worker_lost_ms


def test_settings_are_read_from_a_celery_configuration() -> None:
    app = Celery("app", set_as_current=False)
    app.conf.update(trellis_url="redis://localhost/1", trellis_worker_lost_ms=10_000, task_acks_late=True)

    settings = Settings.from_conf(app.conf)

    assert settings == Settings(url="redis://localhost/1", worker_lost_ms=10_000)


def test_settings_are_read_by_their_name_in_a_namespace() -> None:
    class DjangoSettings:
        CELERY_TRELLIS_URL = "memory://"
        CELERY_TRELLIS_STRICT = True
        TRELLIS_OF_ANOTHER_LIBRARY = 1

    app = Celery("app", set_as_current=False)
    app.config_from_object(DjangoSettings, namespace="CELERY")

    assert Settings.from_conf(app.conf) == Settings(url="memory://", strict=True)


def test_a_setting_with_a_slip_of_the_pen_is_refused_with_a_suggestion() -> None:
    with pytest.raises(errors.ConfigurationError, match="trellis_worker_lost_ms"):
        Settings.from_conf({"trellis_worker_lost": 1})


def test_an_unknown_setting_is_refused_with_the_known_ones() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"trellis_url.*trellis_strict"):
        Settings.from_conf({"trellis_zzz": 1})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, 1.5, "1000", None, True])
def test_a_number_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"trellis_{name}"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - set(MAY_BE_ZERO)))
def test_zero_is_refused_where_it_would_stop_everything(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"trellis_{name}"):
        Settings(**{name: 0})


@pytest.mark.parametrize(
    ("name", "value"), [("url", 1), ("url", None), ("key_prefix", 1), ("strict", 1), ("transport_options", [])]
)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"trellis_{name}"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["check_interval_ms", "history_interval_ms"])
@pytest.mark.parametrize("interval_ms", [1, 500, 1_500])
def test_what_beat_sends_is_sent_in_whole_seconds(name: str, interval_ms: int) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"trellis_{name} must be whole seconds"):
        Settings(**{name: interval_ms})


def test_leases_are_renewed_often_but_not_all_the_time() -> None:
    assert Settings(worker_lost_ms=1).renew_interval_ms == 50
