"""``taskq call``: sends a task by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskq.cli.command import Command
from taskq.cli.failure import Misuse
from taskq.cli.session import Session, pass_session
from taskq.cli.types import json_array, json_object, moment, moment_or_seconds

if TYPE_CHECKING:
    from taskq.app import TaskQ


@click.command("call", cls=Command)
@click.argument("name")
@click.option("-a", "--args", type=json_array, default="[]", metavar="JSON", help="Such as [1, 2].")
@click.option(
    "-k", "--kwargs", type=json_object, default="{}", metavar="JSON", help='Such as {"x": 1}.'
)
@click.option("--eta", type=moment, metavar="TIME", help="Not before: ISO 8601, UTC by default.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not before so many have passed.")
@click.option(
    "--expires",
    type=moment_or_seconds,
    metavar="TIME|SECONDS",
    help="Dropped if it has not started by then.",
)
@click.option("--serializer", metavar="NAME", help="How the arguments are encoded.")
@click.option("--queue", metavar="NAME", help="The queue, in place of the routes' choice.")
@click.option("--exchange", metavar="NAME", help="The exchange, with --routing-key.")
@click.option("--routing-key", metavar="KEY", help="What its bindings are matched against.")
@click.option("--priority", type=click.IntRange(0, 9), metavar="N", help="0 to 9, 9 first.")
@pass_session
def call(
    session: Session, /, name: str, args: list[Any], kwargs: dict[str, Any], **options: Any
) -> None:
    """Send the task NAME, and print its id."""
    given = {option: value for option, value in options.items() if value is not None}
    if "eta" in given and "countdown" in given:
        raise Misuse("--eta and --countdown both say when: give one of them")
    app = session.connected_app()
    if name not in app.tasks and session.app_spec:
        _warn(app, name)
    try:
        result = app.send_task(name, args, kwargs, **given)
    except TypeError as exc:
        raise Misuse(str(exc)) from exc
    click.echo(result.id)


def _warn(app: TaskQ, name: str) -> None:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    near = get_close_matches(name, app.tasks, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see `taskq list tasks`."
    click.echo(f"warning: the app has no task {name!r}: {hint} It is sent all the same.", err=True)
