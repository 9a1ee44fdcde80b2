"""Where what is watched is shown: on a terminal a picture that changes in place, a line for each thing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

from trellis_celery.cli.blocks import Tone, line
from trellis_celery.cli.following import Followed, News, Room
from trellis_celery.cli.output import Output
from trellis_celery.cli.visible import visible


class Screen(Protocol):
    def show(self, followed: Followed, news: Sequence[News]) -> None:
        """This is how things are now, and this is new."""
        ...

    def trouble(self, followed: Followed, error: Exception) -> None:
        """Nothing could be read, and it will be tried again."""
        ...


@contextmanager
def screen_for(output: Output) -> Iterator[Screen]:
    """The best that standard output can be."""
    if not output.is_rich:
        yield LineScreen(output)
        return
    from trellis_celery.cli import rich_text  # noqa: PLC0415 - an optional dependency

    with rich_text.live(output.console) as live:
        yield PictureScreen(output, live)


class LineScreen:
    """For pipes, logs, JSON, and terminals without rich."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._is_troubled = False

    def show(self, followed: Followed, news: Sequence[News]) -> None:
        if self._is_troubled:
            self._output.say("The store answers again.")
        self._is_troubled = False
        for one in news:
            if self._output.as_json:
                self._output.data(one.data)
            else:
                click.echo(visible(one.text))

    def trouble(self, followed: Followed, error: Exception) -> None:
        if not self._is_troubled:
            self._output.say(f"{error}; trying again")
        self._is_troubled = True


class PictureScreen:
    """For terminals with rich."""

    def __init__(self, output: Output, live: Any) -> None:
        self._output = output
        self._live = live

    def show(self, followed: Followed, news: Sequence[News]) -> None:
        self._draw(followed)

    def trouble(self, followed: Followed, error: Exception) -> None:
        self._draw(followed, str(error))

    def _draw(self, followed: Followed, trouble: str = "") -> None:
        from trellis_celery.cli import rich_text  # noqa: PLC0415 - an optional dependency

        columns = self._output.width - len("^C")  # which the terminal writes behind the last line
        room = Room(columns, self._output.height - bool(trouble), self._output.glyphs)
        blocks = followed.picture(room)
        if trouble:
            blocks = [line(f"{trouble}; trying again. This is how things were:", Tone.BAD), *blocks]
        self._live.update(rich_text.picture(blocks, columns=room.columns), refresh=True)
