"""`Trellis`: one object per Celery app, through which everything is reached."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Literal, cast

from celery import Celery, signals

from trellis_celery import errors
from trellis_celery.bootstrap import open_archive, open_store, open_tracer
from trellis_celery.domain.definitions import ProcessType, require_process_type
from trellis_celery.domain.events import ProcessStepTimedOut
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Position, ProcessFilter, ProcessSummary
from trellis_celery.logs import EventLogger
from trellis_celery.monitoring.celery_events import CeleryEventSink
from trellis_celery.monitoring.log import LogSink
from trellis_celery.monitoring.signals import SignalSink
from trellis_celery.plugin import beat, broker, forks
from trellis_celery.plugin import signals as receivers
from trellis_celery.plugin.bindings import Bindings
from trellis_celery.plugin.exchange import ExchangeAnnouncer
from trellis_celery.plugin.fence import guard
from trellis_celery.plugin.handle import ProcessHandle
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.kept import KeptWrites
from trellis_celery.plugin.publishing import track_publishing
from trellis_celery.plugin.requeue import CeleryRequeuer
from trellis_celery.plugin.signing import Signer
from trellis_celery.plugin.untracked import Untracked
from trellis_celery.plugin.worker import KeepAlive
from trellis_celery.ports import EVERYTHING, EventSink, HistoryArchive, Outbox, ProcessStore, StepKey, Tracer
from trellis_celery.services.history import HistoryService
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.relay import ClockedOutbox, RelayService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.settings import Settings

logger = EventLogger(__name__)

#: Each is called with every `Trellis` as it is made: what is offered around one, and must not be imported here.
on_made: list[Callable[[Trellis], None]] = []


class Trellis:
    """Tracks the bound tasks of a Celery app. Make one beside the app; it is also found as `app.trellis`.

    Making it connects nothing and reads no settings, so it may stand before or after the configuration.

    store
        One of the team's own making, such as a `SQLAlchemyStore` on its own engine or a `RepositoryStore`; None: the
        one that `trellis_url` names. Forked children use it too.
    sinks
        Are told every event after it was written, in the process that wrote it.
    on_timed_out
        Is called, where the check runs, for each attempt that ran out of time or was lost. Before a step is given up it
        is called until it no longer raises.
    """

    def __init__(
        self,
        app: Celery,
        *,
        store: ProcessStore | None = None,
        sinks: Sequence[EventSink] = (),
        on_timed_out: Callable[[ProcessStepTimedOut], None] | None = None,
    ) -> None:
        if receivers.trellis_of(app) is not None:
            raise errors.ConfigurationError(f"the app {app.main!r} has a Trellis already")
        self.app = app
        self.bindings = Bindings(app)
        #: What tracking could not do since this process started, by what it was about.
        self.untracked = Untracked(lambda: self.store)
        #: What the store is still to be told of.
        self.kept = KeptWrites(lambda: self.recorder, self._count_unwritten)
        self._given_sinks = tuple(sinks)
        #: The worker that this process belongs to; None: to none.
        self._worker_name: str | None = None
        self._on_timed_out = on_timed_out
        self._store = store
        self._opened: dict[int, ProcessStore] = {}
        self._archives: dict[int, HistoryArchive | None] = {}
        self._guarded = 0
        app.trellis = self  # type: ignore[attr-defined]
        receivers.connect()
        forks.watch()
        track_publishing(app, self)
        app.steps["worker"].add(KeepAlive)
        for signal, receiver in (
            (signals.worker_init, self._note_worker),
            (signals.worker_init, self._guard_tasks),
            (signals.worker_init, self._import_store),
            (signals.worker_init, self._tell_keys),
            (signals.beat_init, self._require_settings),
        ):
            # To Celery before 5.7 the same method of another object is connected already.
            signal.connect(receiver, weak=False, dispatch_uid=f"trellis.{id(self)}.{receiver.__name__}")
        if app.finalized:  # type: ignore[attr-defined]
            self._on_finalize(app)
        else:
            app.on_after_finalize.connect(self._on_finalize, weak=False)
        for tell in on_made:
            tell(self)

    # What it is made of

    @cached_property
    def settings(self) -> Settings:
        """The settings; read when first needed. Raises ConfigurationError."""
        return Settings.from_conf(self.app.conf)

    @cached_property
    def signer(self) -> Signer:
        """What signs the headers of messages, and tells which are to be trusted. Raises ConfigurationError."""
        return Signer(self.settings.signing_keys)

    @cached_property
    def _sinks(self) -> tuple[EventSink, ...]:
        sinks: list[EventSink] = [LogSink(), SignalSink(self)]
        if self.settings.celery_events:
            connect = partial(broker.open_connection, self.app)
            sinks.append(CeleryEventSink(self.app, connect, hostname=self._worker_name))
        return (*sinks, *self._given_sinks, self.untracked)

    @cached_property
    def tracer(self) -> Tracer | None:
        """What makes spans; None unless `trellis_tracing` is set. Raises ConfigurationError."""
        return open_tracer(self.settings)

    @property
    def store(self) -> ProcessStore:
        """This process's own connection to the store: a forked child opens another."""
        store = self._opened.get(os.getpid())
        if store is None:  # of two threads that get here at once, one store is kept
            store = self._opened.setdefault(os.getpid(), self._open_store())
        return store

    def shares_store_with(self, other: Trellis) -> bool:
        """Whether the processes of the other are this one's, too. A store in memory is its `Trellis`'s own."""
        if self is other or self._store is not None or other._store is not None:
            return self is other or self._store is other._store
        places = [(each.settings.url, each.settings.tracker_url) for each in (self, other)]
        return places[0] == places[1] and places[0][0] != "memory://"

    def _open_store(self) -> ProcessStore:
        try:
            store = open_store(self.settings) if self._store is None else self._store
        except errors.ConfigurationError:
            vars(self).pop("settings", None)  # whoever mends them now is heard
            raise
        if self._announces and not isinstance(store, Outbox):
            raise errors.ConfigurationError(
                f"trellis_events_exchange needs a store that keeps an outbox, and {type(store).__name__} does not: "
                "Redis and SQL do"
            )
        return store

    @property
    def recorder(self) -> Recorder:
        return Recorder(self.store, sinks=self._sinks, announces=self._announces)

    @property
    def processes(self) -> ProcessService:
        return ProcessService(self.store, sinks=self._sinks, announces=self._announces)

    @property
    def relay(self) -> RelayService:
        """What tells other services of events. Raises ConfigurationError unless `trellis_events_exchange` is set."""
        if not self._announces:
            raise errors.ConfigurationError("no events are relayed: set trellis_events_exchange to a name")
        announcer = ExchangeAnnouncer(self.app, self.settings.events_exchange)
        return RelayService(cast("ClockedOutbox", self.store), announcer)

    @property
    def _announces(self) -> bool:
        return bool(self.settings.events_exchange)

    @property
    def timeouts(self) -> TimeoutCheckerService:
        return TimeoutCheckerService(
            self.store,
            self._on_timed_out,
            requeuer=CeleryRequeuer(self.app, signer=self.signer),
            sinks=self._sinks,
            announces=self._announces,
            tracer=self.tracer,
            worker_lost_ms=self.settings.worker_lost_ms,
            check_interval_ms=self.settings.check_interval_ms,
            batch_size=self.settings.check_batch_size,
            budget_ms=self.settings.check_budget_ms,
        )

    @property
    def history(self) -> HistoryService:
        """The archive of finished processes, and what goes into it."""
        pid = os.getpid()
        if pid not in self._archives:
            self._archives[pid] = open_archive(self.settings)
        return HistoryService(
            self.store,
            self._archives[pid],
            retention_ms=self.settings.retention_ms,
            backlog=self.settings.history_backlog,
            budget_ms=self.settings.history_interval_ms,
        )

    # What users call

    def start_process(
        self,
        process_type: type[ProcessType],
        *,
        tenant_id: str,
        aggregate_type: str,
        aggregate_id: str,
        metadata: Mapping[str, Any] | None = None,
        if_exists: Literal["return", "raise"] = "return",
    ) -> ProcessHandle:
        """Start a process, or return the live one with the same tenant, type and aggregate.

        Used as a context manager, the handle makes tasks sent inside belong to the process. `if_exists="raise"` raises
        ProcessExists instead of returning the live process. Raises StoreUnavailable: a process that was not stored is
        never pretended.
        """

        require_process_type(process_type)

        def start(traceparent: str | None = None) -> Process:
            return self.processes.start_process(
                tenant_id=tenant_id,
                process_type=process_type.type_name,
                aggregate_type=aggregate_type,
                aggregate_id=aggregate_id,
                steps=process_type.new_steps(queue_timeout_ms=self.settings.queue_timeout_ms),
                deadline_ms=process_type.deadline_ms,
                metadata=metadata,
                if_exists=if_exists,
                traceparent=traceparent,
            )

        tracer, type_name = self.tracer, process_type.type_name
        return ProcessHandle(self, start() if tracer is None else tracer.start_process(start, process_type=type_name))

    def get_process(self, process_id: str) -> ProcessHandle:
        """The process with this id. Raises ProcessNotFound."""
        return ProcessHandle(self, self.processes.get_process(process_id))

    def find_process(
        self, process_type: type[ProcessType] | str, *, tenant_id: str, aggregate_type: str, aggregate_id: str
    ) -> ProcessHandle | None:
        """The live process with this business key, if there is one."""
        if not isinstance(process_type, str):
            process_type = require_process_type(process_type).type_name
        process = self.processes.find_process(
            tenant_id=tenant_id,
            process_type=process_type,
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
        )
        return None if process is None else ProcessHandle(self, process)

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        """Processes in the store, newest first; `after`: those behind the `position` of the last of the page before."""
        return self.processes.list_processes(only, limit=limit, after=after)

    # What the plugin calls

    def count_untracked(self, what: str, header: Header, error: Exception) -> None:
        """Note that a message or a run goes on without being tracked."""
        self.untracked.note(what)
        logger.error(
            "not_tracked",
            extra={"what": what, "process_id": header.process_id, "step": header.step_name, "error": str(error)},
        )

    def _count_unwritten(self, key: StepKey, error: Exception) -> None:
        header = Header(process_id=key.process_id, process_type="", step_name=key.step_name)
        self.count_untracked("kept", header, error)

    def require_guards(self) -> None:
        """Guard the tasks that were defined since: one that is run eagerly meets no worker that would."""
        if getattr(self.app, "autofinalize", True):
            self.app.finalize()
        if len(self.bindings.tasks()) > self._guarded:
            self._guard_tasks()

    def _on_finalize(self, sender: Celery, **_: Any) -> None:
        self._guard_tasks()
        # Read afresh and not kept: an app may be finalized before all of its configuration is there.
        beat.schedule(sender, self, Settings.from_conf(sender.conf))

    def _require_settings(self, **_: Any) -> None:
        """A beat that cannot read its settings would run without the check, and Celery swallows every other error."""
        try:
            self.settings  # noqa: B018 - read for its errors
        except errors.ConfigurationError as error:
            raise SystemExit(f"trellis: {error}") from error

    def _note_worker(self, sender: Any, **_: Any) -> None:
        self._worker_name = sender.hostname

    def _import_store(self, **_: Any) -> None:
        """Before the pool is forked: else each child's first task would wait until a database's library is imported."""
        with suppress(errors.ConfigurationError):  # whoever needs the store says so
            self.store  # noqa: B018 - made and kept

    def _tell_keys(self, **_: Any) -> None:
        """By an attribute of the check, which `inspect registered` shows: which keys they are, and not the keys."""
        check: Any = self.app.tasks.get(beat.CHECK)
        with suppress(errors.ConfigurationError):
            if check is not None:
                check.trellis_signing = self.signer.fingerprint

    def _guard_tasks(self, **_: Any) -> None:
        """Once when the app is finalized, and again as a worker starts, for tasks that were defined after that."""
        tasks = self.bindings.tasks()
        for task in tasks:
            guard(task)
        self._guarded = len(tasks)
