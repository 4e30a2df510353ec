"""``taskq queues``: what the queues hold, and pausing them."""

from __future__ import annotations

import click

from taskq.cli.command import Group
from taskq.cli.output import show_json, show_table
from taskq.cli.queue_choice import all_queues
from taskq.cli.session import Session, pass_session


@click.group("queues", cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an object for each queue.")
@pass_session
def queues(session: Session, /, as_json: bool) -> None:
    """Show how many messages each queue holds; pause and resume queues.

    Ready ones wait for a worker; leased ones are with a worker; delayed ones are not due; dead ones
    lie in the dead-letter queue (see `taskq dlq`).
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    app = session.connected_app()
    columns = ["ready", "leased", "delayed", "dead"]
    depths = {}
    paused = app.broker.paused()
    for name in all_queues(app):
        depth = app.broker.depth(name)
        depths[name] = {column: getattr(depth, column) for column in columns}
        depths[name]["paused"] = name in paused
    if as_json:
        show_json(depths)
        return
    show_table(
        ["queue", *columns, ""],
        [
            [name, *(counts[column] for column in columns), "paused" if counts["paused"] else ""]
            for name, counts in depths.items()
        ],
    )


@queues.command("pause")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@pass_session
def pause(session: Session, /, names: tuple[str, ...]) -> None:
    """Let no worker start anything of these queues, until they are resumed.

    It is kept in the broker, whatever is restarted. Tasks that run already go on.
    """
    control = session.connected_app().control
    for name in dict.fromkeys(names):
        control.pause(name)
        if not session.quiet:
            click.echo(f"{name} is paused")


@queues.command("resume")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@pass_session
def resume(session: Session, /, names: tuple[str, ...]) -> None:
    """Let workers go on with these queues."""
    app = session.connected_app()
    paused = app.broker.paused()
    for name in dict.fromkeys(names):
        app.control.resume(name)
        if not session.quiet:
            click.echo(f"{name} is resumed" if name in paused else f"{name} was not paused")
