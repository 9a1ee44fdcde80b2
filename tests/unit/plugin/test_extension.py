from __future__ import annotations

import pickle

import pytest
from celery import Celery

from trellis_celery import Trellis


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
