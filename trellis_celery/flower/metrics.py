"""Flower's own `/metrics`, with those of trellis: read beside the event loop, before Flower writes them down."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from flower.views.monitor import Metrics as FlowerMetrics

from trellis_celery import errors
from trellis_celery.logs import EventLogger
from trellis_celery.monitoring.prometheus import TrellisCollector
from trellis_celery.plugin.metrics import register
from trellis_celery.plugin.signals import trellis_of

logger = EventLogger(__name__)


class Metrics(FlowerMetrics):  # type: ignore[misc]
    """Whatever is wrong with ours, Flower's metrics are there."""

    #: However many ask, one thread waits for the store.
    _refreshing: ClassVar[asyncio.Task[None] | None] = None

    async def get(self) -> None:
        trellis = trellis_of(self.application.capp)
        if trellis is not None:
            try:
                # It does not wait itself: Flower has it collected in the event loop.
                await self._refresh(register(trellis, waits=False))
            except errors.ConfigurationError as error:
                logger.error("metrics_not_read", extra={"error": str(error)})
        await super().get()

    @classmethod
    async def _refresh(cls, collector: TrellisCollector) -> None:
        if cls._refreshing is None or cls._refreshing.done():
            cls._refreshing = asyncio.create_task(asyncio.to_thread(collector.refresh))
        await asyncio.shield(cls._refreshing)
