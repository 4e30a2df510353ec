"""``taskq queues``: what the queues hold."""

from __future__ import annotations

import click

from taskq.cli.command import Command
from taskq.cli.output import show_json, show_table
from taskq.cli.queue_choice import all_queues
from taskq.cli.session import Session, pass_session


@click.command("queues", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an object for each queue.")
@pass_session
def queues(session: Session, /, as_json: bool) -> None:
    """Show how many messages each queue holds.

    Ready ones wait for a worker; leased ones are with a worker; delayed ones are not due; dead ones
    lie in the dead-letter queue (see `taskq dlq`).
    """
    app = session.connected_app()
    columns = ["ready", "leased", "delayed", "dead"]
    depths = {}
    for name in all_queues(app):
        depth = app.broker.depth(name)
        depths[name] = {column: getattr(depth, column) for column in columns}
    if as_json:
        show_json(depths)
        return
    show_table(
        ["queue", *columns],
        [[name, *counts.values()] for name, counts in depths.items()],
    )
