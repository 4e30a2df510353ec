"""``taskq purge``: deletes what waits."""

from __future__ import annotations

import click

from taskq.cli.command import Command
from taskq.cli.output import amount
from taskq.cli.queue_choice import existing, without
from taskq.cli.session import Session, pass_session
from taskq.cli.types import names


@click.command("purge", cls=Command)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option(
    "-Q", "--queues", type=names, metavar="A,B", help="In place of all that the app declares."
)
@click.option("-X", "--exclude-queues", type=names, metavar="A,B", help="But not these.")
@pass_session
def purge(
    session: Session,
    /,
    force: bool,
    queues: tuple[str, ...] | None,
    exclude_queues: tuple[str, ...] | None,
) -> None:
    """Delete all messages that wait in queues, delayed ones included.

    What is running goes on. Dead letters are deleted by `taskq dlq purge`.
    """
    app = session.connected_app()
    declared = [queue.name for queue in app.queues()]
    chosen = without(existing(app, queues) if queues else declared, exclude_queues)
    if not force:
        depths = [app.broker.depth(name) for name in chosen]
        waiting = sum(depth.ready + depth.delayed for depth in depths)
        click.confirm(f"Delete {amount(waiting, 'message')} from {', '.join(chosen)}?", abort=True)
    deleted = sum(app.broker.purge(name) for name in chosen)
    if not session.quiet:
        click.echo(f"deleted {amount(deleted, 'message')} from {', '.join(chosen)}")
