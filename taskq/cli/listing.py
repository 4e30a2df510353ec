"""``taskq list``: what the app has."""

from __future__ import annotations

import click

from taskq.builtin_tasks import is_builtin
from taskq.cli.command import Group
from taskq.cli.session import Session, pass_session


@click.group("list", cls=Group)
def listing() -> None:
    """List what the app has."""


@listing.command("tasks")
@pass_session
def tasks(session: Session, /) -> None:
    """List the names of all registered tasks."""
    for name in sorted(session.app().tasks):
        if not is_builtin(name):
            click.echo(name)
