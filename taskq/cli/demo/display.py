"""Showing the scenes of the demo: a live table on a terminal, lines elsewhere; and the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

import click

if TYPE_CHECKING:
    from rich.table import Table

    from taskq.cli.demo.scenes import Scene


class Display(Protocol):
    """Shows scenes while the block runs."""

    def show(self, scenes: Sequence[Scene]) -> None:
        """Show how they are now."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Lines:
    """A line for each milestone of a scene."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._shown: dict[str, str] = {}

    def show(self, scenes: Sequence[Scene]) -> None:
        """Write what has changed."""
        for scene in scenes:
            if self._shown.get(scene.title) != scene.milestone:
                self._shown[scene.title] = scene.milestone
                elapsed = time.monotonic() - self._start
                click.echo(f"{elapsed:4.1f} s  {scene.title:<26}  {scene.state:<8}  {scene.note()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing is left to do."""


class Silence:
    """Shows nothing."""

    def show(self, scenes: Sequence[Scene]) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing is left to do."""


class LiveTable:
    """A table that is drawn anew in its place, and gives way to the summary.

    Args:
        color: use colours.
    """

    def __init__(self, color: bool) -> None:
        # rich is slow to import, and only terminals need it.
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(no_color=not color), auto_refresh=False, transient=True)

    def show(self, scenes: Sequence[Scene]) -> None:
        """Draw the table."""
        self._live.update(_table(scenes), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()


def _table(scenes: Sequence[Scene]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "", box=None, show_header=False, pad_edge=False)
    colors = {"done": "green", "wrong": "red", "waiting": "dim", "retry": "yellow"}
    for scene in scenes:
        state = Text(scene.state, colors.get(scene.state, "cyan"))
        table.add_row(scene.title, state, Text(scene.note()))
    return table


def summary(scenes: Sequence[Scene], problems: Sequence[str]) -> str:
    """An account of all tasks."""
    sent = sum(scene.total for scene in scenes)
    correct = sum(scene.correct for scene in scenes)
    lines = [
        "",
        f"{'sent':>6}  {'as expected':>11}",
        *(
            f"{scene.total:6,}  {scene.correct:11,}  {scene.title:<26}  {scene.note()}"
            for scene in scenes
        ),
        f"{sent:6,}  {correct:11,}  in all",
        "",
    ]
    if problems:
        return "\n".join([*lines, *(f"WRONG: {problem}" for problem in problems)])
    return "\n".join(
        [*lines, "Every task is accounted for. The queue is empty, and the worker has stopped."]
    )
