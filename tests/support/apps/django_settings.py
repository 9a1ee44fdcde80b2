"""What django-celery-beat needs of Django."""

import os

SECRET_KEY = "for tests"
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("TRELLIS_TEST_SQLITE")}}
USE_TZ = True
