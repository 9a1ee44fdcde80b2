"""The metrics of a `Trellis` are registered once."""

from __future__ import annotations

import sys

import pytest
from celery import Celery
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from trellis_celery import Trellis, errors
from trellis_celery.plugin.metrics import register


def make(name: str, url: str = "memory://") -> Trellis:
    app = Celery(name, set_as_current=False)
    app.conf.trellis_url = url
    return Trellis(app)


def test_registering_twice_is_registering_once() -> None:
    trellis, registry = make("shop"), CollectorRegistry()

    assert register(trellis, registry) is register(trellis, registry)
    assert b"trellis_store_up 1.0" in generate_latest(registry)


def test_without_a_registry_it_is_the_one_that_every_program_has() -> None:
    collector = register(make("shop"))
    try:
        assert b"trellis_store_up 1.0" in generate_latest()
    finally:
        REGISTRY.unregister(collector)


def test_a_registry_has_the_metrics_of_one_app() -> None:
    registry = CollectorRegistry()
    register(make("shop"), registry)

    with pytest.raises(errors.ConfigurationError, match="'shop' already"):
        register(make("stock"), registry)


def test_settings_that_make_no_sense_are_told_at_once() -> None:
    trellis = make("shop")
    trellis.app.conf.trellis_check_interval_ms = 1_500

    with pytest.raises(errors.ConfigurationError, match="whole seconds"):
        register(trellis, CollectorRegistry())


def test_a_store_that_cannot_be_opened_is_down() -> None:
    registry = CollectorRegistry()
    register(make("shop", url=""), registry)

    assert b"trellis_store_up 0.0" in generate_latest(registry)


def test_what_is_missing_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trellis_celery.monitoring.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "prometheus_client.metrics_core", None)

    with pytest.raises(errors.ConfigurationError, match=r"pip install 'trellis-celery\[metrics\]'"):
        register(make("shop"))
