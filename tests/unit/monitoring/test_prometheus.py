"""What a store counts comes out as metrics of Prometheus, whatever things are called and whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from trellis_celery import EventKind, ProcessService, ProcessStep, TimeoutCheckerService, errors
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import EventGroup, Lateness, ProcessGroup, Stats
from trellis_celery.monitoring import metrics
from trellis_celery.monitoring.cardinality import MOST_STEPS, MOST_TYPES
from trellis_celery.monitoring.prometheus import TrellisCollector
from trellis_celery.monitoring.readings import PARTS, Reading, StoreReader
from trellis_celery.monitoring.scrapes import Scrapes
from trellis_celery.ports import LastCheck, ProcessStore
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, RecordingRequeuer

#: Sample name and labels, as a query finds them.
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

CHECKOUT = {"process_type": "Checkout", "step": "charge_card"}


def registry_of(read: Callable[[], Reading]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(TrellisCollector(Scrapes(read, patience_s=20, good_for_s=0), check_interval_ms=1_000))
    return registry


def exported(read: Callable[[], Reading]) -> Series:
    text = generate_latest(registry_of(read)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_store(store: ProcessStore, *, has_archive: bool = False) -> Series:
    return exported(StoreReader(lambda: store, has_archive=lambda: has_archive).read)


def of_stats(**stats: Any) -> Series:
    return exported(lambda: Reading(is_up=True, last_check_age_ms=0, stats=Stats(**{"processes": {}, **stats})))


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, tuple(sorted(labels.items()))))


def names(series: Series) -> set[str]:
    return {name for name, _ in series}


class Shop:
    """Processes of one step in memory, and time that passes when told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.processes = ProcessService(self.store)
        self.checker = TimeoutCheckerService(self.store, requeuer=RecordingRequeuer())

    def start(self, *, retries_permitted: int = 0) -> str:
        step = ProcessStep("charge_card", timeout_ms=1_000, retries_permitted=retries_permitted)
        process = self.processes.start_process(
            tenant_id="tenant-1", process_type="Checkout", aggregate_type="Order", aggregate_id="1", steps=[step]
        )
        self.processes.start_step(process, "charge_card")
        return process.id

    def check_after(self, ms: int) -> None:
        self.clock.advance(ms)
        self.checker.check_for_timed_out_steps()


# What there is to tell


def test_every_kind_of_event_is_a_counter() -> None:
    assert set(metrics.OF_EVENTS) == set(EventKind)


def test_a_step_that_was_given_up_is_counted_and_its_process_has_an_incident() -> None:
    shop = Shop()
    process_id = shop.start()
    shop.check_after(1_500)

    series = of_store(shop.store)

    assert value(series, "trellis_steps_started_total", **CHECKOUT) == 1
    assert value(series, "trellis_steps_timed_out_total", **CHECKOUT) == 1
    assert value(series, "trellis_steps_given_up_total", **CHECKOUT) == 1
    assert value(series, "trellis_processes_failed_total", process_type="Checkout") == 1
    assert value(series, "trellis_processes_with_incident", process_type="Checkout") == 1
    assert value(series, "trellis_processes", process_type="Checkout", state="failed") == 1

    shop.processes.close_incident(process_id, "charge_card")
    assert value(of_store(shop.store), "trellis_processes_with_incident", process_type="Checkout") == 0


def test_what_has_not_happened_to_a_known_step_yet_is_nought_and_not_missing() -> None:
    shop = Shop()
    shop.start()

    series = of_store(shop.store)

    for kind, metric in metrics.OF_EVENTS.items():
        labels = CHECKOUT if "step" in metric.labels else {"process_type": "Checkout"}
        happened = kind in (EventKind.STEP_STARTED, EventKind.PROCESS_STARTED)
        assert value(series, metric.name, **labels) == int(happened), metric.name
    assert {value(series, "trellis_processes", process_type="Checkout", state=state) for state in ProcessState} == {
        0,
        1,
    }


def test_a_state_that_no_process_is_in_any_more_falls_to_nought() -> None:
    shop = Shop()
    process_id = shop.start()
    shop.processes.complete_step(process_id, "charge_card")
    shop.store.delete(process_id)

    assert value(of_store(shop.store), "trellis_processes", process_type="Checkout", state="completed") == 0


def test_overdue_processes_are_counted() -> None:
    group = ProcessGroup("Checkout", ProcessState.IN_PROGRESS, True, False)

    assert value(of_stats(processes={group: 3}), "trellis_processes_overdue", process_type="Checkout") == 3


def test_lateness_is_a_histogram_in_seconds() -> None:
    lateness = Lateness(buckets={1_000: 2, 100: 1, 250: 0}, count=4, sum_ms=12_500)

    series = of_stats(lateness=lateness)

    name = "trellis_reenqueue_lateness_seconds"
    bounds = {"0.1": 1, "0.25": 1, "1.0": 3, "+Inf": 4}
    assert {bound: value(series, f"{name}_bucket", le=bound) for bound in bounds} == bounds
    assert (value(series, f"{name}_count"), value(series, f"{name}_sum")) == (4, 12.5)


def test_durations_are_seconds() -> None:
    shop = Shop()
    shop.processes.complete_step(shop.start(), "charge_card")
    shop.store.note_check(LastCheck(shop.clock.now_ms(), "beat"))
    shop.clock.advance(2_500)

    series = of_store(shop.store, has_archive=True)

    assert value(series, "trellis_last_check_age_seconds") == 2.5
    assert value(series, "trellis_check_interval_seconds") == 1
    assert value(series, "trellis_archive_backlog_processes") == 1
    assert value(series, "trellis_archive_backlog_age_seconds") == 2.5
    assert value(series, "trellis_outbox_processes") == value(series, "trellis_outbox_age_seconds") == 0


def test_a_check_that_never_was_is_infinitely_long_ago() -> None:
    assert value(of_store(MemoryStore()), "trellis_last_check_age_seconds") == math.inf


def test_clocks_that_nobody_has_taken_up_are_told() -> None:
    shop = Shop()
    shop.start()
    shop.clock.advance(1_500)

    assert value(of_store(shop.store), "trellis_clocks_due") == 1


# What is missing


def test_a_store_that_is_down_is_all_there_is_to_tell() -> None:
    def down() -> ProcessStore:
        raise errors.StoreUnavailable("down")

    series = exported(StoreReader(down, has_archive=lambda: True).read)

    assert value(series, "trellis_store_up") == 0
    assert {part: value(series, "trellis_exporter_read_errors_total", part=part) for part in PARTS} == {
        "check": 1,
        "outbox": 0,
        "archive": 0,
        "stats": 0,
    }
    assert names(series) == {
        "trellis_store_up",
        "trellis_check_interval_seconds",
        "trellis_exporter_read_errors_total",
        "trellis_exporter_read_duration_seconds",
        "trellis_exporter_read_age_seconds",
    }


def test_numbers_that_a_store_does_not_keep_are_left_out() -> None:
    series = of_stats(processes={ProcessGroup("", ProcessState.PENDING, False, False): 2})

    assert value(series, "trellis_processes", process_type="", state="pending") == 2
    assert not {name for name in names(series) if "steps" in name or "lateness" in name or "untracked" in name}


def test_numbers_that_a_store_does_not_have_any_more_are_not_told_from_memory() -> None:
    shop = Shop()
    shop.start()
    stores: list[ProcessStore] = [shop.store]
    registry = registry_of(StoreReader(lambda: stores[0], has_archive=lambda: False).read)
    assert b"trellis_steps_started_total" in generate_latest(registry)

    stores.clear()

    assert b"trellis_steps_started_total" not in generate_latest(registry)


# Names


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "new\nline", "{}=,", "Ünïcode ✓", "# TYPE x counter"])
def test_a_name_of_any_kind_comes_out_as_it_was(name: str) -> None:
    series = of_stats(events={EventGroup(name, name, EventKind.STEP_STARTED): 1})

    assert value(series, "trellis_steps_started_total", process_type=name, step=name) == 1


def test_types_beyond_the_bound_are_counted_together_as_other() -> None:
    many = {ProcessGroup(f"Type{n:05}", ProcessState.PENDING, False, False): 1 for n in range(MOST_TYPES + 7)}

    series = of_stats(processes=many)

    told = {labels for name, labels in series if name == "trellis_processes_overdue"}
    assert len(told) == MOST_TYPES + 1
    assert value(series, "trellis_processes", process_type="other", state="pending") == 7


def test_steps_beyond_the_bound_are_counted_together_as_other() -> None:
    many = {EventGroup("Big", f"step{n:05}", EventKind.STEP_STARTED): 1 for n in range(MOST_STEPS + 7)}

    series = of_stats(events=many)

    assert sum(name == "trellis_steps_started_total" for name, _ in series) == MOST_STEPS + 1
    assert value(series, "trellis_steps_started_total", process_type="Big", step="other") == 7


# The format


def test_no_label_tells_one_process_or_tenant_from_another() -> None:
    labels = {label for metric in metrics.ALL for label in metric.labels}

    assert labels == {"process_type", "step", "state", "what", "part"}


def test_names_follow_the_conventions() -> None:
    for metric in metrics.ALL:
        assert metric.name.startswith("trellis_")
        assert metric.name.endswith("_total") == (metric.type is metrics.MetricType.COUNTER), metric.name
        assert not {"ms", "milliseconds", "minutes", "id"} & set(metric.name.split("_")), metric.name
    assert len({metric.name.removesuffix("_total") for metric in metrics.ALL}) == len(metrics.ALL)


def test_what_is_exported_is_what_was_described() -> None:
    shop = Shop()
    shop.start()
    shop.check_after(1_500)
    collector = TrellisCollector(
        Scrapes(StoreReader(lambda: shop.store, has_archive=lambda: True).read, patience_s=20), check_interval_ms=1_000
    )

    described = {(family.name, family.type, family.documentation) for family in collector.describe()}
    collected = {(family.name, family.type, family.documentation) for family in collector.collect()}

    uncounted = {("trellis_untracked", "counter", metrics.UNTRACKED.help)}
    assert described - uncounted == collected - uncounted
    assert len(described) == len(metrics.ALL)


def test_the_format_of_openmetrics_can_be_read_too() -> None:
    shop = Shop()
    shop.start(retries_permitted=1)
    shop.check_after(1_500)
    registry = registry_of(StoreReader(lambda: shop.store, has_archive=lambda: True).read)

    families = list(read_openmetrics(openmetrics.generate_latest(registry).decode()))

    assert {"trellis_steps_reenqueued", "trellis_reenqueue_lateness_seconds"} <= {family.name for family in families}


def test_to_register_the_collector_asks_the_store_for_nothing() -> None:
    def no_reading() -> Reading:
        raise AssertionError("it was asked")

    registry_of(no_reading)


def test_a_collector_that_does_not_wait_tells_what_was_read_before() -> None:
    asked: list[int] = []

    def read() -> Reading:
        asked.append(1)
        return Reading(is_up=True, last_check_age_ms=0)

    collector = TrellisCollector(Scrapes(read, patience_s=20), check_interval_ms=1_000, waits=False)

    def is_up() -> float:
        return next(iter(collector.collect())).samples[0].value

    assert (is_up(), asked) == (0, [])
    collector.refresh()
    assert (is_up(), asked) == (1, [1])
