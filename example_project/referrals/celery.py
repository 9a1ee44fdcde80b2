"""The Celery app, and its one line of trellis."""

from celery import Celery

from example_project.referrals import settings
from trellis_celery import Trellis

app = Celery("referrals", include=["example_project.referrals.tasks"])
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_transport_options={"global_keyprefix": f"{settings.PREFIX}:broker:"},
    broker_connection_retry_on_startup=True,
    task_default_queue="referrals",
    task_routes={"example_project.referrals.tasks.book_appointment": {"queue": "calendar"}},
    task_ignore_result=True,
    trellis_url=settings.TRELLIS_URL,
    trellis_key_prefix=f"{settings.PREFIX}:trellis",
    trellis_events_exchange="referral-events",
)

trellis = Trellis(app)
