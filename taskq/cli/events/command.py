"""``taskq events``: what workers tell, as it happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from taskq.cli.command import Command
from taskq.cli.failure import Misuse, user_code
from taskq.cli.session import Session, pass_session
from taskq.cli.types import log_level, seconds

if TYPE_CHECKING:
    from taskq.app import TaskQ


@click.command("events", cls=Command)
@click.option("-d", "--dump", is_flag=True, help="A line for each event.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Each of these lines as JSON.")
@click.option("-c", "--camera", metavar="NAME", help="Give snapshots to this class: module:Class.")
@click.option(
    "-F",
    "--frequency",
    "--freq",
    type=seconds,
    default="1",
    metavar="SECONDS",
    show_default=True,
    help="Between two snapshots, or two pictures of the live view.",
)
@click.option("-r", "--maxrate", metavar="RATE", help="Snapshots at most, such as 10/m.")
@click.option(
    "-l", "--loglevel", type=log_level, metavar="LEVEL", default="WARNING", show_default=True
)
@pass_session
def events(
    session: Session,
    /,
    dump: bool,
    as_json: bool,
    camera: str | None,
    frequency: float,
    maxrate: str | None,
    loglevel: int,
) -> None:
    """Show what workers tell, until Ctrl-C: as a live view, or as lines without a terminal.

    Workers tell events if they were started with -E, or after `taskq control enable_events`.
    """
    if camera and (dump or as_json):
        raise Misuse("--camera takes no --dump and no --json: choose one of them")
    if maxrate and not camera:
        raise Misuse("--maxrate is for --camera")
    app = session.connected_app()
    _set_up_logging(app, loglevel)
    if camera:
        from taskq.events.snapshot import find_camera, take_snapshots

        with user_code("--camera"):
            found = find_camera(camera)
        take_snapshots(app, found, frequency, maxrate)
    elif dump or as_json or not sys.stdout.isatty():
        from taskq.cli.events.dump import dump_events

        dump_events(app, as_json)
    else:
        from taskq.cli.events.view import show_live

        show_live(app, frequency)


def _set_up_logging(app: TaskQ, level: int) -> None:
    from taskq.log import setup_logging

    setup_logging(app.conf, level, None)
