"""A line for each event."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.output import one_line, to_json

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.events.event import Event

_COMMON = {
    *("type", "hostname", "timestamp", "utcoffset", "pid", "clock", "local_received"),
    *("uuid", "name", "args", "kwargs"),
}
"""What each line says already, or nobody wants to read."""
_REMEMBERED = 10_000


def dump_events(app: TaskQ, as_json: bool) -> None:
    """Print events until interrupted.

    Raises:
        OperationalError: the broker cannot be reached.
    """
    names: dict[str, str] = {}
    for event in app.events.Receiver().itercapture():
        if as_json:
            click.echo(to_json(event, indent=None))
        else:
            click.echo(line_of(event, names))


def line_of(event: Event, names: dict[str, str]) -> str:
    """An event on one line.

    Args:
        event: what was told.
        names: the tasks' names by their ids, since most events tell only the id; kept up to
            date, within bounds.
    """
    when = datetime.fromtimestamp(event.get("timestamp") or 0).astimezone()
    head = f"{event.get('hostname')} [{when.isoformat(sep=' ', timespec='milliseconds')}]"
    kind = event["type"].replace("-", " ", 1)
    details = [
        f"{name}={_short(value)}" for name, value in event.items() if name not in _COMMON and value
    ]
    if event["type"].startswith("task-"):
        kind = f"{kind}: {_task(event, names)}"
    return " ".join([head, kind, *details])


def _task(event: Event, names: dict[str, str]) -> str:
    uuid = str(event.get("uuid"))
    name = event.get("name")
    if name:
        names[uuid] = name
        while len(names) > _REMEMBERED:
            del names[next(iter(names))]
    call = f" args={event.get('args')} kwargs={event.get('kwargs')}" if name else ""
    return f"{name or names.get(uuid, '?')}({uuid}){call}"


def _short(value: Any) -> str:
    return one_line(value if isinstance(value, str) else to_json(value, indent=None), 200)
