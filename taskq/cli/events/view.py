"""A live view of workers and tasks on a terminal."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

from taskq.cli.output import amount, one_line

if TYPE_CHECKING:
    from rich.console import Console, Group

    from taskq.app import TaskQ
    from taskq.events import State
    from taskq.events.records import Task

_COLORS = {
    "SUCCESS": "green",
    "FAILURE": "red",
    "REJECTED": "red",
    "REVOKED": "magenta",
    "RETRY": "yellow",
    "STARTED": "cyan",
}


def show_live(app: TaskQ, frequency: float, console: Console | None = None) -> None:
    """Show what is known of workers and tasks, until interrupted.

    Args:
        app: whose workers.
        frequency: seconds between two pictures.
        console: where to show them; the terminal by default.

    Raises:
        OperationalError: the broker cannot be reached.
    """
    # rich is slow to import, and only the live view needs it.
    from rich.console import Console
    from rich.live import Live

    console = console or Console()
    state = app.events.State(max_tasks_in_memory=2000)
    receiver = app.events.Receiver(handlers={"*": state.event})
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def paint() -> None:
            while not receiver.should_stop:
                live.update(picture(state, console.size.height), refresh=True)
                time.sleep(frequency)

        painting = threading.Thread(target=paint, name="taskq-events-view", daemon=True)
        painting.start()
        try:
            receiver.capture()
        finally:
            receiver.should_stop = True
            painting.join(frequency + 1)


def picture(state: State, height: int) -> Group:
    """What is known, as a screen of that many lines shows it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    workers = Table(box=None, expand=True, title_justify="left", header_style="bold")
    for column in ("worker", "status", "active", "processed", "load"):
        workers.add_column(column)
    known = state.freeze_while(lambda: list(state.workers.values()))
    for worker in sorted(known, key=lambda worker: worker.hostname)[: max(1, height // 3)]:
        workers.add_row(
            worker.hostname,
            Text(worker.status_string.lower(), "green" if worker.alive else "red"),
            *(
                str(value if value is not None else "")
                for value in (worker.active, worker.processed)
            ),
            " ".join(f"{load:.2f}" for load in worker.loadavg or ()),
        )
    tasks = Table(box=None, expand=True, header_style="bold")
    for column in ("time", "state", "task", "id", "worker", "result"):
        tasks.add_column(column, no_wrap=True, overflow="ellipsis")
    room = max(1, height - len(workers.rows) - 7)
    for _, task in state.tasks_by_time(limit=room):
        tasks.add_row(
            datetime.fromtimestamp(task.timestamp or 0).astimezone().strftime("%H:%M:%S"),
            Text(task.state, _COLORS.get(task.state, "")),
            task.name or "?",
            task.uuid,
            task.hostname or "",
            one_line(_end_of(task), 200),
        )
    head = f"{amount(len(known), 'worker')}, {amount(state.event_count, 'event')}"
    if not state.event_count:
        head += ". Nothing is told yet: start workers with -E, or call taskq control enable_events"
    return Group(Text(head, "dim"), Text(), workers, Text(), tasks)


def _end_of(task: Task) -> str:
    if task.exception:
        return task.exception
    if task.runtime is not None:
        return f"{task.result or ''} in {task.runtime:.3f} s".strip()
    return ""
