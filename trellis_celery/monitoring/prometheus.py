"""The metrics for Prometheus.

The numbers are the store's, so every exporter of one store says the same, and one is enough. Nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isinf
from typing import cast

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from trellis_celery.monitoring.cardinality import Names
from trellis_celery.monitoring.metrics import ALL, Metric, MetricType
from trellis_celery.monitoring.samples import Buckets, Samples, samples_of
from trellis_celery.monitoring.scrapes import Scrapes


class TrellisCollector:
    """A collector for a registry of `prometheus_client`.

    check_interval_ms
        How often the check is meant to run.
    waits
        Whether a scrape waits for a reading. If not, somebody has to call `refresh` before each.
    """

    def __init__(self, scrapes: Scrapes, *, check_interval_ms: int, waits: bool = True) -> None:
        self._scrapes = scrapes
        self._check_interval_ms = check_interval_ms
        self._waits = waits
        self._names = Names()

    def refresh(self) -> None:
        """Wait until there is a reading that is as good as a new one, but not for ever."""
        self._scrapes.refresh()

    def describe(self) -> Iterable[Family]:
        """All that there can be, without asking the store."""
        return [_family(metric) for metric in ALL]

    def collect(self) -> Iterable[Family]:
        if self._waits:
            self.refresh()
        found = samples_of(self._scrapes.latest(), self._names, check_interval_ms=self._check_interval_ms)
        by_metric = {samples.metric: samples for samples in found}
        return [_filled(by_metric[metric]) for metric in ALL if metric in by_metric]


def _family(metric: Metric) -> Family:
    match metric.type:
        case MetricType.COUNTER:
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case MetricType.GAUGE:
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case MetricType.HISTOGRAM:
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _filled(samples: Samples) -> Family:
    family = _family(samples.metric)
    for labels, value in samples.values.items():
        if isinstance(value, Buckets):
            buckets = [("+Inf" if isinf(bound_s) else str(bound_s), count) for bound_s, count in value.up_to]
            cast("HistogramMetricFamily", family).add_metric(labels, buckets, value.sum_s)
        else:
            cast("GaugeMetricFamily", family).add_metric(labels, value)
    return family
