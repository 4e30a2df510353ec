"""``taskq beat``: sends tasks when they are due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from taskq.cli.command import Command
from taskq.cli.daemon import held, set_up_logging
from taskq.cli.nodename import node_name
from taskq.cli.session import Session, pass_session
from taskq.cli.types import log_level, seconds

if TYPE_CHECKING:
    from taskq.beat import Beat

F = TypeVar("F", bound=Callable[..., object])


def store_options(command: F) -> F:
    """The options that say which schedule store is meant."""
    path = click.option(
        "-s", "--schedule", metavar="PATH", help="A file for the schedule, not the broker's store."
    )
    store = click.option(
        "-S", "--scheduler", metavar="STORE", help="The schedule store: a name, or a URL."
    )
    return path(store(command))


@click.command("beat", cls=Command)
@store_options
@click.option(
    "--max-interval", type=seconds, metavar="SECONDS", help="Between two looks at the store."
)
@click.option("-n", "--hostname", metavar="NAME", help="Its name, for %n in paths.")
@click.option(
    "-l", "--loglevel", type=log_level, metavar="LEVEL", default="WARNING", show_default=True
)
@click.option("-f", "--logfile", metavar="PATH", help="Log to this file, not to standard error.")
@click.option("--pidfile", metavar="PATH", help="Hold this file while it runs.")
@pass_session
def beat(
    session: Session,
    /,
    schedule: str | None,
    scheduler: str | None,
    max_interval: float | None,
    hostname: str | None,
    loglevel: int,
    logfile: str | None,
    pidfile: str | None,
) -> None:
    """Send tasks when they are due, until TERM or Ctrl-C.

    Any number of beats may run for one app: each tick is sent once.
    """
    app = session.app()
    name = node_name(hostname)
    with held(pidfile, name):
        set_up_logging(app, loglevel, logfile, name)
        service = app.Beat(schedule=schedule, scheduler=scheduler, max_interval=max_interval)
        entries, _ = service.prepare()
        if not session.quiet:
            click.echo(_banner(service, session, len(entries), loglevel))
        status = service.run()
    click.get_current_context().exit(status)


def _banner(service: Beat, session: Session, entries: int, level: int) -> str:
    from taskq.stores.urls import hide_password

    conf = service.app.conf
    lines = [
        ("app", session.app_spec or service.app.main or "?"),
        ("broker", hide_password(conf.broker_url)),
        ("entries", f"{entries} in code, and those of the store"),
        ("log", logging.getLevelName(level)),
    ]
    return "\n".join(["taskq beat", *(f"  {name:8} {value}" for name, value in lines)])
