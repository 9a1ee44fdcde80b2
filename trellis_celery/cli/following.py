"""What `watch` follows: one process, or those that need somebody first. Each look tells what is new since the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.cli import data, tones
from trellis_celery.cli.blocks import Block, Cell, Line, Tone, line
from trellis_celery.cli.counting import check_line
from trellis_celery.cli.gantt import Glyphs
from trellis_celery.cli.listing import process_table
from trellis_celery.cli.process_page import head, picture
from trellis_celery.cli.times import moment
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.worker import MISSED_CHECKS


class News(NamedTuple):
    """One thing that happened: as a line, and as data."""

    text: str
    data: dict[str, Any]


class Room(NamedTuple):
    """What there is for a picture."""

    columns: int
    lines: int
    glyphs: Glyphs


class Followed(Protocol):
    """What can be watched."""

    def look(self) -> list[News]:
        """Read it again, and tell what is new. Raises StoreUnavailable, ProcessNotFound."""
        ...

    def picture(self, room: Room) -> list[Block]:
        """How it was at the last look."""
        ...

    @property
    def has_ended(self) -> bool: ...


class OneProcess(Struct):
    """A process, until it has ended."""

    trellis: Trellis
    process: Process
    history: Sequence[Event] = ()
    now_ms: int = 0

    def look(self) -> list[News]:
        known = len(self.history)
        self.process, self.history = self._read()
        self.now_ms = self.trellis.store.now_ms()
        return [self._told(event) for event in self.history[known:]]

    def picture(self, room: Room) -> list[Block]:
        blocks = head(self.process, now_ms=self.now_ms)
        rows = max(3, (room.lines - len(blocks)) // 2)
        drawn = picture(
            self.process, self.history, now_ms=self.now_ms, columns=room.columns, glyphs=room.glyphs, rows=rows
        )
        blocks = [*blocks, line(), *drawn]
        left = max(3, room.lines - len(blocks) - 1)
        return [*blocks, *(line(self._told(event).text) for event in self.history[-left:])]

    @property
    def has_ended(self) -> bool:
        return self.process.state.is_terminal

    def _read(self) -> tuple[Process, list[Event]]:
        """The process first: when it has ended, the entry of its end is there already."""
        process_id = self.process.id
        try:
            return self.trellis.processes.get_process(process_id), self.trellis.processes.history(process_id)
        except errors.ProcessNotFound:  # it has ended, and its retention was over since the last look
            if not self.trellis.settings.history_url:
                raise
        return self.trellis.history.get_process(process_id), self.trellis.history.history(process_id)

    def _told(self, event: Event) -> News:
        step = f" {event.step_name} attempt {event.attempt}" if event.step_name else ""
        detail = f": {event.detail}" if event.detail else ""
        by = f" (by {event.by})" if event.by else ""
        text = f"{moment(event.occurred_at_ms)}  {event.kind}{step}{detail}{by}"
        return News(text, data.of_event(event, process_id=self.process.id))


class Urgent(Struct):
    """Those that need somebody first: with incidents, then overdue, then those that started last."""

    trellis: Trellis
    only: ProcessFilter
    limit: int
    processes: list[ProcessSummary] = field(default_factory=list)
    now_ms: int = 0
    _known: dict[str, ProcessSummary] = field(default_factory=dict)
    _check: Block = field(default_factory=line)

    def look(self) -> list[News]:
        wanted = (replace(self.only, has_incident=True), replace(self.only, is_overdue=True), self.only)
        found = [one for only in wanted for one in self.trellis.list_processes(only, limit=self.limit)]
        self.processes = list({one.id: one for one in found}.values())[: self.limit]
        self.now_ms = self.trellis.store.now_ms()
        late_ms = MISSED_CHECKS * self.trellis.settings.check_interval_ms
        self._check = check_line(self.trellis.store.last_check(), now_ms=self.now_ms, late_ms=late_ms)
        changed = [one for one in self.processes if self._known.get(one.id) != one]
        self._known.update((one.id, one) for one in changed)
        return [self._told(one) for one in reversed(changed)]

    def picture(self, room: Room) -> list[Block]:
        return [
            Line((Cell(moment(self.now_ms), Tone.STRONG), Cell("  Ctrl-C ends", Tone.DIM))),
            self._check,
            line(),
            *process_table(self.processes[: room.lines], now_ms=self.now_ms),
        ]

    @property
    def has_ended(self) -> bool:
        return False

    def _told(self, process: ProcessSummary) -> News:
        key = process.key
        state = tones.state_of_process(process).text
        about = f"{process.id} {key.process_type}, {key.aggregate_type} {key.aggregate_id}, tenant {key.tenant_id}"
        text = f"{moment(self.now_ms)}  {about}: {state}, {process.steps_finished}/{process.steps_total} steps"
        return News(text, data.of_summary(process))
