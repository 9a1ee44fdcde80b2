"""Celery apps for real workers. A module here is imported by the test and by each worker, with the same environment."""
