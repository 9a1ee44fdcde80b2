"""`show`: one process and all that happened to it."""

from __future__ import annotations

from collections.abc import Mapping

from trellis_celery.cli import choosing, data
from trellis_celery.cli.group import command
from trellis_celery.cli.options import one_process
from trellis_celery.cli.output import Output
from trellis_celery.cli.process_page import process_page
from trellis_celery.domain.process import Process
from trellis_celery.plugin.arguments import arguments_of
from trellis_celery.plugin.extension import Trellis


@command("show")
@one_process
def show(trellis: Trellis, output: Output, *, process_id: str | None, **key: str | None) -> None:
    """One process: its timeline, its steps, and everything that happened to it.

    Name it by PROCESS_ID, or by --aggregate. Looks into the archive too, if there is one.
    """
    process, history, is_archived = choosing.with_history(trellis, output, process_id, **key)
    arguments: Mapping[str, str] = {} if is_archived else _arguments(trellis, process)
    if output.as_json:
        events = [data.of_event(event, process_id=process.id) for event in history]
        told = data.of_process(process, arguments=arguments)
        output.data({**told, "is_archived": is_archived, "history": events})
        return
    output.page(
        process_page(
            process,
            history,
            now_ms=trellis.store.now_ms(),
            columns=output.width,
            is_archived=is_archived,
            arguments=arguments,
            command_line=output.command_line,
            glyphs=output.glyphs,
        )
    )


def _arguments(trellis: Trellis, process: Process) -> Mapping[str, str]:
    return arguments_of(trellis, process.id, list(process.steps))
