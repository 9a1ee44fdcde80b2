"""Where the service finds its servers. The defaults suit a Redis on this machine."""

import os

BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
TRELLIS_URL = os.environ.get("TRELLIS_URL", "redis://127.0.0.1:6379/1")
DATABASE_URL = os.environ.get("REFERRALS_DATABASE_URL", "redis://127.0.0.1:6379/2")

#: What all keys start with, so that several services may share a server.
PREFIX = os.environ.get("REFERRALS_PREFIX", "referrals")
