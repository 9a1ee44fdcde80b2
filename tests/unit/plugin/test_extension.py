from __future__ import annotations

import pickle

import pytest
from celery import Celery, signals

from trellis_celery import Trellis, errors


@pytest.mark.parametrize("is_used", [False, True])
def test_an_app_with_a_trellis_can_be_pickled_as_any_other(is_used: bool) -> None:
    app = Celery("pickled", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    Trellis(app)
    if is_used:
        app.finalize()
        app.send_task("anything")

    copy = pickle.loads(pickle.dumps(app))

    assert (copy.main, copy.conf.trellis_url) == ("pickled", "memory://")


def test_each_of_two_apps_in_one_program_hears_that_a_worker_starts() -> None:
    apps = [Celery(name, set_as_current=False) for name in ("one", "other")]
    for app in apps:
        app.conf.trellis_url = "memory://"
        Trellis(app)
        app.finalize()

        @app.task(name="late", shared=False)
        def late() -> None: ...

    signals.worker_init.send(sender=None)

    assert [getattr(app.tasks["late"].run, "__trellis_guarded__", False) for app in apps] == [True, True]


def test_who_sets_what_an_error_asks_for_is_heard() -> None:
    app = Celery("late", broker="memory://", set_as_current=False)
    trellis = Trellis(app)
    with pytest.raises(errors.ConfigurationError, match="trellis_url is not set"):
        trellis.store  # noqa: B018 - opened for its errors

    app.conf.trellis_url = "memory://"

    assert trellis.store.now_ms() > 0
