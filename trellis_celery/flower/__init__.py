"""The tab "Processes" in Flower, and a JSON API beside Flower's own.

`celery -A proj flower` shows it for an app that has a `Trellis`. Where Celery's command line has no say, one line in
`flowerconfig.py` does it::

    from trellis_celery.flower import install; install()

Flower has no interface for plugins. What is used of it is in `routes` and `templates`, and held by tests against the
oldest and the newest Flower that is supported; if it is not there, Flower starts without the tab and says so.
"""

from __future__ import annotations

from trellis_celery import errors

__all__ = ["install"]


def install() -> None:
    """Add the tab to the Flower that this program is about to start. Twice is as good as once.

    Raises ConfigurationError if Flower is not installed, or has nothing that the tab could be added to.
    """
    try:
        from trellis_celery.flower.routes import add_to_flower  # noqa: PLC0415 - Flower is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trellis_celery"):
            raise
        raise errors.ConfigurationError(
            f"the tab in Flower needs {error.name}: pip install 'trellis-celery[flower]'"
        ) from error
    add_to_flower()
