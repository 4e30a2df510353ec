"""``taskq dlq``: the dead letters, which are messages that nobody could finish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.command import Group
from taskq.cli.failure import Failure, Misuse
from taskq.cli.output import amount, one_line, show_json, show_table, to_json
from taskq.cli.session import Session, pass_session
from taskq.exceptions import TaskQError
from taskq.serialization import decompress

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import DeadLetter

EVERYTHING = 10**9
"""No dead-letter queue is longer."""
BATCH = 1000
"""Letters that are retried or deleted in one transaction."""


@click.group("dlq", cls=Group)
def dlq() -> None:
    """Read dead letters, send them again, delete them."""


@dlq.command("list")
@click.option("--queue", metavar="NAME", help="Only those of this queue.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one array.")
@pass_session
def list_letters(session: Session, /, queue: str | None, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    letters = session.connected_app().broker.dead_letters(queue, limit)
    if as_json:
        show_json([_summary(letter) for letter in letters])
        return
    if not letters:
        click.echo("no dead letters" + (f" of queue {queue}" if queue else ""))
        return
    show_table(
        ["id", "died", "queue", "task", "reason"],
        [
            [letter.id, _when(letter), letter.queue, _task(letter), one_line(letter.reason, 80)]
            for letter in letters
        ],
    )


@dlq.command("show")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one array.")
@pass_session
def show(session: Session, /, ids: tuple[str, ...], as_json: bool) -> None:
    """Show dead letters in full: why they died, their headers and their arguments."""
    app = session.connected_app()
    letters = [_full(app, letter) for letter in _find(app, ids)]
    if as_json:
        show_json(letters)
        return
    for letter in letters:
        for name, value in letter.items():
            if name == "headers":
                click.echo("headers:")
                for header, content in value.items():
                    click.echo(f"  {header}: {to_json(content, indent=None)}")
            else:
                text = value if isinstance(value, str) else to_json(value, indent=None)
                click.echo(f"{name}: {text}")
        click.echo()


@dlq.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them, or of --queue.")
@click.option("--queue", metavar="NAME", help="With --all: only those of this queue.")
@pass_session
def retry(session: Session, /, ids: tuple[str, ...], everything: bool, queue: str | None) -> None:
    """Send dead letters back to their queues, with their counters at zero."""
    app = session.connected_app()
    chosen = _choose(app, ids, everything, queue)
    sent = sum(app.broker.retry_dead(batch) for batch in _batches(chosen))
    click.echo(f"sent {amount(sent, 'message')} again")


@dlq.command("purge")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them, or of --queue.")
@click.option("--queue", metavar="NAME", help="With --all: only those of this queue.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_session
def purge(
    session: Session, /, ids: tuple[str, ...], everything: bool, queue: str | None, force: bool
) -> None:
    """Delete dead letters for good."""
    app = session.connected_app()
    chosen = _choose(app, ids, everything, queue)
    if not force:
        click.confirm(f"Delete {amount(len(chosen), 'dead letter')} for good?", abort=True)
    deleted = sum(app.broker.purge_dead(batch) for batch in _batches(chosen))
    click.echo(f"deleted {amount(deleted, 'dead letter')}")


def _choose(app: TaskQ, ids: Sequence[str], everything: bool, queue: str | None) -> Sequence[str]:
    """The ids that a command means.

    Raises:
        Misuse: the command line does not say which.
        Failure: one of them is not there.
    """
    if bool(ids) == everything or (queue and not everything):
        raise Misuse("which ones? Name their ids, or give --all, with or without --queue")
    if everything:
        return [letter.id for letter in app.broker.dead_letters(queue, EVERYTHING)]
    return [letter.id for letter in _find(app, ids)]


def _find(app: TaskQ, ids: Sequence[str]) -> list[DeadLetter]:
    """The letters with these ids.

    Raises:
        Failure: one of them is not there.
    """
    found = {letter.id: letter for letter in app.broker.dead_letters(None, EVERYTHING)}
    if unknown := [key for key in ids if key not in found]:
        raise Failure(f"there is no dead letter {', '.join(unknown)}: see `taskq dlq list`")
    return [found[key] for key in dict.fromkeys(ids)]


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _task(letter: DeadLetter) -> str:
    return letter.message.task if letter.message is not None else "?"


def _when(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.died).astimezone().isoformat(sep=" ", timespec="seconds")


def _summary(letter: DeadLetter) -> dict[str, Any]:
    message = letter.message
    return {
        "id": letter.id,
        "died": _when(letter),
        "queue": letter.queue,
        "task": message and message.task,
        "task_id": message and message.id,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "crashes": letter.crashes,
    }


def _full(app: TaskQ, letter: DeadLetter) -> dict[str, Any]:
    return {**_summary(letter), **_arguments(app, letter), **_headers(letter)}


def _headers(letter: DeadLetter) -> dict[str, Any]:
    return {"headers": letter.message.headers} if letter.message is not None else {}


def _arguments(app: TaskQ, letter: DeadLetter) -> dict[str, Any]:
    """The arguments if they can be read safely; else why not, and how the bytes begin."""
    message = letter.message
    if message is None:
        return {"message": f"cannot be read: {len(letter.packed)} bytes, {letter.packed[:60]!r}"}
    try:
        body = message.body
        if compression := message.headers.get("compression"):
            body = decompress(body, compression)
        # Without accept_content: pickles run code as they are read, and nobody vouches for these.
        args, kwargs, *_ = app.serializers.decode(body, message.content_type)
    except (TaskQError, TypeError, ValueError) as exc:
        return {"body": f"cannot be read: {exc}; {len(message.body)} bytes, {message.body[:60]!r}"}
    return {"args": args, "kwargs": kwargs}
