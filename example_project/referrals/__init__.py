"""The referral service. `celery -A example_project.referrals worker` finds the app in `celery.py`."""
