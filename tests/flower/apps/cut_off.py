"""An app whose store does not answer."""

from __future__ import annotations

from celery import Celery

from trellis_celery import Trellis

app = Celery("cut_off", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="redis://user:swordfish@127.0.0.1:1/0", trellis_store_timeout_ms=300)
trellis = Trellis(app)
