"""The command ``taskq demo``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from taskq.cli.command import Command
from taskq.cli.failure import Misuse
from taskq.cli.session import Session, pass_session

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.cli.demo.display import Display
    from taskq.cli.demo.scenes import Scene
    from taskq.cli.demo.worker import DemoWorker

LIMIT = 20.0
"""Seconds that the worker has to start, and then to do everything."""
TICK = 0.05
"""Seconds between two looks."""


@click.command("demo", cls=Command)
@pass_session
def demo(session: Session, /) -> None:
    """Show a worker at work.

    Starts a worker on an SQLite file of its own, sends it tasks of many kinds, shows what becomes
    of them, and cleans up. Needs no set-up, and takes some seconds. The exit status is 0 if every
    task ended as it should.
    """
    if session.app_spec or session.config or session.changes.keys() - {"worker_log_color"}:
        raise Misuse("the demo has an app and a broker of its own: run it without -A, -b and so on")
    # What the user has set up is for other apps.
    for variable in [name for name in os.environ if name.startswith("TASKQ_")]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory(prefix="taskq-demo-") as folder, _interruptible():
        problems = _run(Path(folder), session.quiet)
    click.get_current_context().exit(1 if problems else 0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let TERM and HUP clean up as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _run(folder: Path, quiet: bool) -> list[str]:
    """The whole show; what was not as it should be."""
    # Imported here, since they make the app and load what only the demo needs.
    from taskq.cli.demo.display import summary
    from taskq.cli.demo.scenes import First, send_all
    from taskq.cli.demo.tasks import add, app
    from taskq.cli.demo.worker import DemoWorker

    url = f"sqlite:///{folder / 'demo.db'}"
    app.conf.update({"broker_url": url, "result_backend": url}, source="taskq demo")
    with app, DemoWorker(folder, url) as worker:
        with _display(quiet) as display:
            scenes: list[Scene] = [First("the first task", [2], lambda: [add.delay(1, 1)])]
            _watch(app, worker, scenes, display)
            scenes += send_all()
            _watch(app, worker, scenes, display)
        problems = _problems(app, scenes, worker.stop())
        click.echo(summary(scenes, problems))
    if not quiet:
        click.echo(f"The tasks are in {sys.modules[add.__module__].__file__}")
    return problems


def _display(quiet: bool) -> Display:
    from taskq.cli.demo.display import Lines, LiveTable, Silence

    if quiet:
        return Silence()
    if sys.stdout.isatty():
        return LiveTable(color=click.get_current_context().color is not False)
    return Lines()


def _watch(app: TaskQ, worker: DemoWorker, scenes: Sequence[Scene], display: Display) -> None:
    """Show the scenes until all tasks have ended, or the time is up."""
    deadline = time.monotonic() + LIMIT
    while True:
        found = app.backend.fetch([task_id for scene in scenes for task_id in scene.pending])
        for scene in scenes:
            scene.update(found)
        display.show(scenes)
        if not any(scene.pending for scene in scenes) or time.monotonic() > deadline:
            return
        worker.check()
        time.sleep(TICK)


def _problems(app: TaskQ, scenes: Sequence[Scene], status: int | None) -> list[str]:
    problems = [
        f"{scene.title}: {scene.total - scene.correct} of {scene.total} did not end well"
        for scene in scenes
        if scene.correct != scene.total
    ]
    for queue in app.broker.queues():
        depth = app.broker.depth(queue)
        if depth.ready or depth.leased or depth.delayed or depth.dead:
            problems.append(f"queue {queue} is not empty: {depth}")
    if status != 0:
        problems.append(f"the worker ended with status {status}")
    return problems
