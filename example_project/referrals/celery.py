"""The Celery app, and its one line of trellis."""

from celery import Celery

from example_project.referrals import settings
from trellis_celery import Trellis

app = Celery("referrals", include=["example_project.referrals.tasks"])
app.conf.update(
    broker_url=settings.BROKER_URL,
    # Without the timeouts a worker waits for ever for a broker that has gone silent.
    broker_transport_options={
        "global_keyprefix": f"{settings.PREFIX}:broker:",
        "socket_timeout": 10,
        "socket_connect_timeout": 10,
    },
    broker_connection_retry_on_startup=True,
    task_default_queue="referrals",
    task_routes={"example_project.referrals.tasks.book_appointment": {"queue": "calendar"}},
    task_ignore_result=True,
    task_time_limit=300,  # a body that hangs gives its child back
    trellis_url=settings.TRELLIS_URL,
    trellis_key_prefix=f"{settings.PREFIX}:trellis",
    trellis_events_exchange="referral-events",
)

trellis = Trellis(app)
