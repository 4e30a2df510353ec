"""``taskq report``: what to tell in a bug report."""

from __future__ import annotations

import click

from taskq.bug_report import bugreport
from taskq.cli.command import Command
from taskq.cli.session import Session, pass_session


@click.command("report", cls=Command)
@pass_session
def report(session: Session, /) -> None:
    """Show software, platform and settings, for a bug report. Secrets are masked."""
    click.echo(bugreport(session.any_app().conf))
