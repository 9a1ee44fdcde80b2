"""The pages one looks at: the list, the incidents, one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from tornado.web import authenticated

from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep
from trellis_celery.flower import look
from trellis_celery.flower.actions import CANCEL, Action, can_be_cancelled, open_to
from trellis_celery.flower.focus import Doing, doing_of
from trellis_celery.flower.gantt import Drawing, draw
from trellis_celery.flower.look import Story
from trellis_celery.flower.page import PageHandler
from trellis_celery.flower.problems import Problem, problem_of
from trellis_celery.flower.query import STATE_ORDER, Query
from trellis_celery.plugin.extension import Trellis

#: So many steps and log entries are on one page of a process.
STEPS_SHOWN, EVENTS_SHOWN = 100, 200

#: What "started" may be asked for, and how it reads.
AGES = (("60000", "1 minute ago"), ("600000", "10 minutes ago"), ("3600000", "1 hour ago"), ("86400000", "1 day ago"))


class _ListHandler(PageHandler):
    def query(self) -> tuple[Query, Problem | None]:
        """What is asked for; if that makes no sense, everything, and why."""
        try:
            return Query.parse(self.query_words()), None
        except ValueError as error:
            return Query(), problem_of(error)

    async def show_list(self, template: str, read: Any) -> None:
        self.trellis  # noqa: B018 - raises a Problem if there is none
        query, problem = self.query()
        page = None
        head = asyncio.ensure_future(self.read_head())
        if problem is None:
            try:
                page = await self.read(lambda trellis: read(trellis, query))
            except Problem as unreadable:
                problem = unreadable
        if problem is not None:
            self.set_status(problem.status_code)
        self.show_part(
            template,
            head=await head,
            query=query,
            said=self.query_words(),
            page=page,
            problem=problem,
            ages=AGES,
            states=STATE_ORDER,
            process_states=ProcessState,
        )


class ListPage(_ListHandler):
    """Processes, filtered and page by page."""

    @authenticated
    async def get(self) -> None:
        await self.show_list("list", look.page)


class IncidentsPage(_ListHandler):
    """Steps that were given up and that nobody has dealt with."""

    @authenticated
    async def get(self) -> None:
        await self.show_list("incidents", look.incidents)


class StepLine(Struct, frozen=True):
    step: ProcessStep
    doing: Doing
    #: How many attempts there may be.
    most_attempts: int
    actions: Sequence[Action]


class ProcessView(Struct, frozen=True):
    """A process as its page shows it: some of its steps, and the end of its log."""

    story: Story
    first_step: int
    lines: Sequence[StepLine]
    drawing: Drawing
    events: Sequence[Event]
    metadata: str
    can_be_cancelled: bool

    @classmethod
    def of(cls, story: Story, first_step: int) -> ProcessView:
        process = story.process
        steps = list(process.steps.values())[first_step : first_step + STEPS_SHOWN]
        rows = story.timeline.rows[first_step : first_step + STEPS_SHOWN]
        return cls(
            story=story,
            first_step=first_step,
            lines=[_line(step, process, story.is_archived) for step in steps],
            drawing=draw(story.timeline, rows, now_ms=story.now_ms),
            events=list(reversed(story.history))[:EVENTS_SHOWN],
            metadata=_as_text(process.metadata),
            can_be_cancelled=not story.is_archived and can_be_cancelled(process),
        )


def _line(step: ProcessStep, process: Process, is_archived: bool) -> StepLine:
    most = max(step.attempt - step.retry_count, 1) + step.retries_permitted
    return StepLine(step, doing_of(step, process), most, [] if is_archived else open_to(step))


def _as_text(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, indent=2, ensure_ascii=False, default=str) if metadata else ""


class ProcessPage(PageHandler):
    """One process: how it went, and what can be done."""

    @authenticated
    async def get(self, process_id: str) -> None:
        first_step = self._first_step()

        def view(trellis: Trellis) -> ProcessView:
            return ProcessView.of(look.story(trellis, process_id), first_step)

        head = asyncio.ensure_future(self.read_head())
        try:
            shown = await self.read(view)
        finally:
            heading = await head
        self.show_part(
            "process",
            head=heading,
            view=shown,
            cancel=CANCEL,
            knows_task=self.flower.events.state.tasks.__contains__,
            knows_worker=self.flower.workers.__contains__,
            steps_shown=STEPS_SHOWN,
        )

    def _first_step(self) -> int:
        text = self.query_words().get("from", "0")
        if not text.isascii() or not text.isdigit() or len(text) > 6:
            raise Problem(400, "BadRequest", f"from must be the number of a step, not {text[:40]!r}")
        return int(text)
