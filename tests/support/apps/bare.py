"""An app that knows nothing of trellis."""

from celery import Celery

app = Celery("bare", broker="memory://")
