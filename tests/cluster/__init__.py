"""Tests on pytest-celery's clusters."""
