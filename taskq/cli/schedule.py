"""``taskq schedule``: what runs when, and changing it while beats run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.beat import store_options
from taskq.cli.command import Group
from taskq.cli.failure import Failure, Misuse
from taskq.cli.output import one_line, show_json, show_table
from taskq.cli.session import Session, pass_session
from taskq.cli.types import json_array, json_object, moment, names, seconds

if TYPE_CHECKING:
    from taskq.beat import ScheduleEditor
    from taskq.beat.stores import Record
    from taskq.schedules import BaseSchedule, ScheduleEntry

MISSED = ("once", "all", "skip")


@click.group("schedule", cls=Group)
def schedule() -> None:
    """See what runs when; add, remove, disable, run."""


@schedule.command("list")
@store_options
@click.option("--json", "as_json", is_flag=True, help="As JSON, one array.")
@pass_session
def list_entries(
    session: Session, /, schedule: str | None, scheduler: str | None, as_json: bool
) -> None:
    """List all entries with their next and last runs.

    Next runs are shown by the clock of the entry's zone and by that of this machine.
    """
    with _editing(session, scheduler, schedule) as editor:
        rows = [_row(editor, record) for record in editor.records()]
    if as_json:
        show_json(rows)
        return
    if not rows:
        click.echo("no schedule entries")
        return
    show_table(
        ["name", "task", "schedule", "state", "next", "here", "last", "runs", "missed", "failed"],
        [
            [
                *(row["name"], row["task"], one_line(row["schedule"], 60), row["state"]),
                *(row["next"] or "-", row["next_here"] or "-", row["last"] or "-"),
                *(row["runs"], row["missed"], row["failed"]),
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row["error"]:
            click.echo(f"{row['name']}: {one_line(row['error'], 200)}", err=True)


@schedule.command("next")
@click.argument("name")
@store_options
@click.option("-c", "--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one array.")
@pass_session
def upcoming(
    session: Session,
    /,
    name: str,
    schedule: str | None,
    scheduler: str | None,
    count: int,
    as_json: bool,
) -> None:
    """Show the next runs of entry NAME."""
    with _editing(session, scheduler, schedule) as editor, _named():
        record = editor.record(name)
        times = editor.upcoming(record, count)
        zone = _zone(editor, editor.entry(record))
    if as_json:
        show_json([datetime.fromtimestamp(time, zone).isoformat() for time in times])
    elif not times:
        click.echo(f"{name} does not run again")
    else:
        show_table(["next", "here"], [[_shown(time, zone), _here(time)] for time in times])


@schedule.command("add")
@click.argument("name")
@click.argument("task")
@click.option("--crontab", metavar="TEXT", help="When: five fields, such as '0 2 * * mon-fri'.")
@click.option("--every", type=seconds, metavar="SECONDS", help="When: again and again.")
@click.option("--at", type=moment, metavar="TIME", help="When: once; ISO 8601, UTC by default.")
@click.option("--solar", type=names, metavar="EVENT,LAT,LON", help="When: such as sunset,48.8,2.3.")
@click.option("--tz", metavar="ZONE", help="The zone of --crontab, such as Europe/Paris.")
@click.option("--relative", is_flag=True, help="With --every: at round times of the clock.")
@click.option("-a", "--args", type=json_array, default="[]", metavar="JSON", help="Such as [1, 2].")
@click.option(
    "-k", "--kwargs", type=json_object, default="{}", metavar="JSON", help='Such as {"x": 1}.'
)
@click.option("--options", type=json_object, default="{}", metavar="JSON", help="Of the call.")
@click.option("--queue", metavar="NAME", help="The queue, in place of the routes' choice.")
@click.option(
    "--missed", type=click.Choice(MISSED), help="Of ticks that nobody could send in time."
)
@click.option("--max-lateness", type=seconds, metavar="SECONDS", help="Then it is too late.")
@click.option("--disabled", is_flag=True, help="It rests until it is enabled.")
@click.option("--replace", is_flag=True, help="Change an entry of that name.")
@store_options
@pass_session
def add(
    session: Session,
    /,
    name: str,
    task: str,
    schedule: str | None,
    scheduler: str | None,
    replace: bool,
    disabled: bool,
    queue: str | None,
    options: dict[str, Any],
    args: list[Any],
    kwargs: dict[str, Any],
    missed: str | None,
    max_lateness: float | None,
    **when: Any,
) -> None:
    """Add the entry NAME, which sends TASK; beats follow within a second."""
    # The rules are loaded by the commands that use them.
    from taskq.schedules import ScheduleEntry

    entry = ScheduleEntry(
        *(name, task, _rule(**when), tuple(args), kwargs),
        {**options, **({"queue": queue} if queue else {})},
        missed=missed,
        max_lateness=max_lateness,
        enabled=not disabled,
    )
    with _editing(session, scheduler, schedule) as editor:
        if task not in editor.app.tasks and session.app_spec:
            click.echo(f"warning: the app has no task {task!r}; it is sent all the same.", err=True)
        record = editor.add(entry, replace)
        zone = _zone(editor, entry)
    due = "does not run" if record.due is None else f"runs next at {_shown(record.due, zone)}"
    click.echo(f"{name} {due}")


@schedule.command("remove")
@click.argument("name")
@store_options
@pass_session
def remove(session: Session, /, name: str, schedule: str | None, scheduler: str | None) -> None:
    """Delete the entry NAME of the store."""
    with _editing(session, scheduler, schedule) as editor, _named():
        editor.remove(name)
    click.echo(f"removed {name}")


@schedule.command("enable")
@click.argument("name")
@store_options
@pass_session
def enable(session: Session, /, name: str, schedule: str | None, scheduler: str | None) -> None:
    """Let the entry NAME run again, from now on."""
    with _editing(session, scheduler, schedule) as editor, _named():
        editor.enable(name)
    click.echo(f"enabled {name}")


@schedule.command("disable")
@click.argument("name")
@store_options
@pass_session
def disable(session: Session, /, name: str, schedule: str | None, scheduler: str | None) -> None:
    """Let the entry NAME rest, until it is enabled again."""
    with _editing(session, scheduler, schedule) as editor, _named():
        editor.disable(name)
    click.echo(f"disabled {name}")


@schedule.command("reset")
@click.argument("name")
@store_options
@pass_session
def reset(session: Session, /, name: str, schedule: str | None, scheduler: str | None) -> None:
    """Let the entry NAME go on from now, whatever it has run already.

    For entries that wait since the clock was set back.
    """
    with _editing(session, scheduler, schedule) as editor, _named():
        editor.reset(name)
    click.echo(f"reset {name}")


@schedule.command("run")
@click.argument("name")
@store_options
@pass_session
def run(session: Session, /, name: str, schedule: str | None, scheduler: str | None) -> None:
    """Send the task of entry NAME now, and print its id; its regular runs stay as they are."""
    with _editing(session, scheduler, schedule) as editor, _named():
        ids = editor.run(name)
    for task_id in ids:
        click.echo(task_id)


@contextmanager
def _editing(session: Session, scheduler: str | None, path: str | None) -> Iterator[ScheduleEditor]:
    # The editor is loaded by the commands that use it.
    from taskq.beat import ScheduleEditor
    from taskq.beat.stores import open_store

    app = session.connected_app()
    with open_store(app, scheduler, path) as store:
        yield ScheduleEditor(app, store)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except KeyError as exc:
        raise Failure(f"{exc.args[0]}: see `taskq schedule list`") from exc


def _rule(
    crontab: str | None,
    every: float | None,
    at: datetime | None,
    solar: tuple[str, ...] | None,
    tz: str | None,
    relative: bool,
) -> BaseSchedule:
    from taskq import schedules

    given = [value for value in (crontab, every, at, solar) if value is not None]
    if len(given) != 1:
        raise Misuse("when? Give one of --crontab, --every, --at and --solar")
    if (tz and crontab is None) or (relative and every is None):
        raise Misuse("--tz belongs to --crontab, and --relative to --every")
    try:
        if crontab is not None:
            return schedules.crontab.from_string(crontab, tz=tz)
        if every is not None:
            return schedules.schedule(every, relative)
        if at is not None:
            return schedules.clocked(at)
        if solar is None or len(solar) != 3:
            raise Misuse("--solar takes EVENT,LAT,LON: write for example sunset,48.85,2.35")
        event, lat, lon = solar
        return schedules.solar(event, float(lat), float(lon))
    except (ValueError, ImportError) as exc:
        raise Misuse(str(exc)) from exc


def _row(editor: ScheduleEditor, record: Record) -> dict[str, Any]:
    entry, error = None, record.error
    try:
        entry = editor.entry(record)
    except Failure:
        raise
    except Exception as exc:
        error = str(exc)
    zone = _zone(editor, entry)
    runs = entry is not None and entry.enabled and record.enabled
    due = record.due if runs else None
    return {
        "name": record.name,
        "task": entry.task if entry is not None else "?",
        "schedule": _described(entry),
        "source": record.source,
        "state": _state(record, entry),
        "next": _shown(due, zone),
        "next_here": _here(due),
        "last": _shown(record.last_run, zone),
        "lateness": record.lateness,
        "runs": record.runs,
        "missed": record.missed,
        "failed": record.failures,
        "error": error,
    }


def _state(record: Record, entry: ScheduleEntry | None) -> str:
    if entry is None:
        return "not here" if record.source == "code" else "broken"
    if not (record.enabled and entry.enabled):
        return "disabled"
    if not record.revision:
        return "new"
    return "on" if record.due is not None else "done"


def _described(entry: ScheduleEntry | None) -> str:
    from taskq.schedules.plain import plain_schedule

    if entry is None:
        return "?"
    try:
        plain: Mapping[str, Any] = plain_schedule(entry.schedule)
    except TypeError:
        return repr(entry.schedule)
    ((kind, value),) = plain.items()
    parts = value if isinstance(value, list) else [value]
    text = " ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)
    return text if kind == "crontab" else f"{kind} {text}"


def _zone(editor: ScheduleEditor, entry: ScheduleEntry | None) -> tzinfo:
    own: tzinfo | None = getattr(entry.schedule, "tz", None) if entry is not None else None
    return own or editor.zone


def _shown(time: float | None, zone: tzinfo | None) -> str:
    """A time by the clock of a zone, with the zone's short name."""
    if time is None:
        return ""
    local = datetime.fromtimestamp(time, UTC).astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def _here(time: float | None) -> str:
    """A time by this machine's clock."""
    return _shown(time, None)
