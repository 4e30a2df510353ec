"""``taskq beat``: sends tasks when they are due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from taskq.cli.command import Command
from taskq.cli.daemon import Daemon, daemon_options
from taskq.cli.session import Session, pass_session
from taskq.cli.types import seconds
from taskq.log import redirected_stdouts

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
@daemon_options
@click.option(
    "--health",
    metavar="ADDRESS",
    help="Answer probes there, by /live and /ready: HOST:PORT, :PORT or unix:PATH.",
)
@pass_session
def beat(
    session: Session,
    /,
    schedule: str | None,
    scheduler: str | None,
    max_interval: float | None,
    health: str | None,
    daemon: Daemon,
) -> None:
    """Send tasks when they are due, until TERM or Ctrl-C.

    Any number of beats may run for one app: each tick is sent once.
    """
    session.change("beat_health", health, "--health")
    with daemon.process(session):
        app = session.app()
        with daemon.running(app):
            service = app.Beat(
                schedule=schedule,
                scheduler=scheduler,
                max_interval=max_interval,
                on_ready=daemon.ready,
            )
            entries, _ = service.prepare()
            if not session.quiet:
                click.echo(_banner(service, session, len(entries), daemon.level))
            with redirected_stdouts(app.conf):
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
