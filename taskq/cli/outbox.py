"""``taskq outbox``: publishes what Django projects have written to their outbox."""

from __future__ import annotations

import signal
from types import FrameType

import click

from taskq.cli.command import Command
from taskq.cli.daemon import Daemon, daemon_options
from taskq.cli.failure import Misuse
from taskq.cli.output import amount
from taskq.cli.session import Session, pass_session


@click.command("outbox", cls=Command)
@click.option("--once", is_flag=True, help="Publish what is there, and end.")
@daemon_options
@pass_session
def outbox(session: Session, /, once: bool, daemon: Daemon) -> None:
    """Publish what lies in a Django project's outbox, until TERM or Ctrl-C.

    Every worker does so too: this is for those who want it apart. Any number of them may run.
    """
    with daemon.process(session):
        app = session.app()
        with daemon.running(app):
            if not app.conf.outbox:
                raise Misuse("the project has no outbox: set TASKQ_OUTBOX = True")
            # Django is loaded by its projects.
            from taskq.contrib.django.outbox import Relay

            relay = Relay(app)
            if once:
                relay.check()
                click.echo(f"published {amount(relay.deliver(), 'message')}")
                return

            def stop(number: int, frame: FrameType | None) -> None:
                relay.stop()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            if not session.quiet:
                click.echo("taskq outbox: publishing what is committed")
            relay.run(daemon.ready)
