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


@pytest.mark.fault("A11")
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


KEY = "a key that nobody guesses"


@pytest.mark.parametrize(
    ("given", "keys"),
    [("", ()), ([], ()), ([""], ()), (KEY, (KEY,)), ([KEY, "another one, as long"], (KEY, "another one, as long"))],
)
def test_keys_of_signatures_are_one_or_several(given: Any, keys: tuple[str, ...]) -> None:
    assert Settings(signing_key=given).signing_keys == keys
    assert Settings(signing_key=(KEY, "")).signing_keys == (KEY, "")


@pytest.mark.parametrize("given", [None, b"bytes that are long enough", {KEY: KEY}, [KEY, 7], "short", [KEY, "short"]])
def test_a_key_of_signatures_that_makes_no_sense_is_refused_and_not_shown(given: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="trellis_signing_key") as refused:
        Settings(signing_key=given)

    assert all(part not in str(refused.value) for part in (KEY, "short'", "bytes that"))


def test_the_first_key_of_signatures_signs_and_cannot_be_empty() -> None:
    with pytest.raises(errors.ConfigurationError, match="the first key signs"):
        Settings(signing_key=["", KEY])


def test_no_key_of_signatures_is_shown_with_the_settings() -> None:
    app = Celery("app", set_as_current=False)
    app.conf.trellis_signing_key = [KEY]

    assert KEY not in repr(Settings(signing_key=KEY))
    assert KEY not in str(app.conf.table(with_defaults=False, censored=True))
