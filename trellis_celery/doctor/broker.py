"""The broker: what it loses, what it brings twice, and what waits for it without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning
from trellis_celery.doctor.steps import StepFacts

#: What RabbitMQ does if a queue says nothing else.
_CONSUMER_TIMEOUT_MS = 1_800_000
_FIRST_WITH_CONSUMER_TIMEOUT = (3, 8, 15)
#: Brokers that bring a message again which was not acknowledged for so long.
_WITH_VISIBILITY = ("redis", "sqs")


class BrokerFacts(Struct, frozen=True, kw_only=True):
    #: The URL without its password.
    place: str
    #: kombu's name of the kind: "redis", "amqp", "memory", "sqs", …
    kind: str
    product: str = ""
    version: tuple[int, ...] = ()
    #: The broker answered.
    is_reachable: bool = True
    #: AMQP: the app's own publishes wait for RabbitMQ's word.
    is_confirmed: bool = False
    #: AMQP: queues of steps, or all, whose messages do not survive a restart.
    transient: tuple[str, ...] = ()
    #: AMQP: queue -> its own `x-consumer-timeout`.
    consumer_timeouts_ms: Mapping[str, int] = field(default_factory=dict)
    visibility_timeout_ms: int = 3_600_000
    #: Redis: how often workers look for messages whose visibility timeout has passed.
    restore_period_ms: int = 100_000
    #: Redis: None: a call waits for ever.
    socket_timeout_s: float | None = None
    #: The store is in the same database of the same server.
    has_store: bool = False
    queue_timeout_ms: int = 900_000
    steps: tuple[StepFacts, ...] = ()


def reachable(facts: BrokerFacts) -> Iterator[Finding]:
    product = f" ({facts.product} {'.'.join(map(str, facts.version))})" if facts.product else ""
    if facts.kind == "memory":
        yield problem(
            f"{facts.place} is in the memory of each program",
            why="No worker sees what a web process sends.",
            advice="Use it in tests only, and set broker_url to a server.",
        )
    elif facts.kind not in ("redis", "amqp"):
        yield note(
            f"{facts.place} answers",
            why="trellis is tested with Redis, Valkey and RabbitMQ. It asks nothing special of a broker, but the "
            "checks here know those two.",
            advice="Try it: kill a worker in the middle of a step, and see the step come back.",
        )
    else:
        yield ok(f"{facts.place}{product} answers")


def unreachable(place: str, *, error: str) -> Finding:
    """What is said of a broker that could not be asked anything."""
    return problem(
        f"{place}: {error}",
        why="No task can be sent or sent again. Steps that fall due meanwhile are sent when it is back.",
        advice="Start it, or correct broker_url; look at firewalls, passwords and the virtual host.",
    )


def confirms(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "amqp":
        return
    if facts.is_confirmed:
        yield ok("confirm_publish is on")
    else:
        yield warning(
            "confirm_publish is off",
            why="When RabbitMQ is killed, messages that were sent and not yet written are gone without an error. "
            "trellis confirms what it sends again itself; the first message of a step is noticed as missing only "
            "after its queue timeout "
            f"({words.duration(facts.queue_timeout_ms)}), and of other tasks never.",
            advice='app.conf.broker_transport_options = {"confirm_publish": True}',
        )


def durability(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "amqp":
        return
    if facts.transient:
        yield warning(
            f"messages do not survive a restart of the broker: {words.several(facts.transient)}",
            why="They are in memory only, confirmed or not: in a trial all 7,308 were lost.",
            advice='task_default_delivery_mode = "persistent", and durable queues.',
        )
    else:
        yield ok("queues and messages are durable")


def visibility(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind not in _WITH_VISIBILITY:
        return
    limit = facts.visibility_timeout_ms
    held = [step.name for step in facts.steps if longest_hold_ms(step) >= limit]
    if held:
        yield warning(
            f"visibility_timeout is {words.duration(limit)}, and a message may be held longer: {words.several(held)}",
            why="The broker then brings it a second time. trellis refuses the copy of a step that runs; a task "
            "outside of a process runs twice. Held are tasks with acks_late while they run, and any task while it "
            "waits for its eta or for Celery's own retry.",
            advice='broker_transport_options = {"visibility_timeout": …} in seconds, above the longest of them.',
        )
    else:
        yield ok(f"visibility_timeout is {words.duration(limit)}, longer than any step is held")


def longest_hold_ms(step: StepFacts) -> int:
    """How long a message of the step may go without being acknowledged, as far as it can be told."""
    runs = [step.timeout_ms or 0 for task in step.tasks if task.acks_late]
    return max([0, *runs, *(task.retry_wait_ms for task in step.tasks)])


def restore(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "redis":
        return
    back_ms = facts.visibility_timeout_ms + facts.restore_period_ms
    first_ms = min(back_ms, facts.queue_timeout_ms)
    found = f"what a killed worker had fetched and not started is back after {words.duration(first_ms)}"
    if facts.queue_timeout_ms <= back_ms:
        yield note(
            found,
            why=f"Redis gives it back after visibility_timeout and a sweep, {words.duration(back_ms)}; a copy of a "
            f"step goes out after trellis_queue_timeout_ms, {words.duration(facts.queue_timeout_ms)}. What had started "
            "is sent again as soon as the worker's leases run out.",
            advice="Lower queue_timeout_ms of urgent steps, and set worker_prefetch_multiplier = 1.",
        )
    else:
        yield ok(found)


def socket_timeout(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "redis":
        return
    if facts.socket_timeout_s is None:
        yield warning(
            "socket_timeout is not set",
            why="When the broker goes away without closing the connection, a program that sends a task waits for ever.",
            advice='broker_transport_options = {"socket_timeout": 30, "socket_connect_timeout": 5}',
        )
    else:
        yield ok(f"socket_timeout is {facts.socket_timeout_s:g} s")


def database(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "redis":
        return
    if facts.has_store:
        yield warning(
            f"{facts.place} is the database of trellis_url as well",
            why="Whoever empties the queues with FLUSHDB deletes every process.",
            advice="Another number at the end of trellis_url: redis://…/1",
        )
    else:
        yield ok("queues and processes are in different databases")


def consumer_timeout(facts: BrokerFacts) -> Iterator[Finding]:
    if facts.kind != "amqp" or (facts.version and facts.version < _FIRST_WITH_CONSUMER_TIMEOUT):
        return
    held = [step.name for step in facts.steps if longest_hold_ms(step) >= _limit_of(step, facts)]
    if held:
        yield warning(
            f"a message may be held longer than consumer_timeout: {words.several(held)}",
            why="RabbitMQ then closes the worker's channel and brings all that it held to others: by default after 30 "
            "minutes. Held are tasks with acks_late while they run, and any task while it waits for its eta.",
            advice='Queue(…, queue_arguments={"x-consumer-timeout": …}) in ms, or consumer_timeout in rabbitmq.conf. '
            "The one in rabbitmq.conf cannot be seen from here.",
        )
    else:
        yield ok("no step is held longer than consumer_timeout")


def _limit_of(step: StepFacts, facts: BrokerFacts) -> int:
    limits = [facts.consumer_timeouts_ms.get(task.queue, _CONSUMER_TIMEOUT_MS) for task in step.tasks]
    return min(limits, default=_CONSUMER_TIMEOUT_MS)


CHECKS: Checks[BrokerFacts] = {
    "broker-reachable": reachable,
    "broker-confirms": confirms,
    "broker-durability": durability,
    "broker-visibility": visibility,
    "broker-restore": restore,
    "broker-socket-timeout": socket_timeout,
    "broker-database": database,
    "broker-consumer-timeout": consumer_timeout,
}
