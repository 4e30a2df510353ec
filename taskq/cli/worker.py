"""``taskq worker``: runs tasks until it is stopped."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import click

from taskq import signals
from taskq.cli.command import Command
from taskq.cli.daemon import Daemon, daemon_options
from taskq.cli.failure import Misuse
from taskq.cli.output import amount
from taskq.cli.queue_choice import without
from taskq.cli.reloading import load_when_it_can_be, restart_on_change, start_anew
from taskq.cli.session import Session, pass_session
from taskq.cli.types import concurrency, most_and_least, names, seconds
from taskq.log import redirected_stdouts

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker.service import Worker

Runs = dict[str, Callable[[], Coroutine[Any, Any, None]]]
AT_LEAST_ONE = click.IntRange(min=1)


def _no_state_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        text = f"{value} is not used: the broker remembers revoked tasks, for all workers"
        click.echo(text, err=True)


@click.command("worker", cls=Command)
@daemon_options
@click.option("-c", "--concurrency", type=concurrency, metavar="N|auto", help="Tasks at a time.")
@click.option(
    "-P",
    "--pool",
    metavar="POOL",
    help="How tasks run: prefork, threads, asyncio, eventlet, gevent or solo.",
)
@click.option(
    "--processes",
    type=AT_LEAST_ONE,
    metavar="N",
    help="So many processes, each with that concurrency.",
)
@click.option(
    "--autoscale",
    type=most_and_least,
    metavar="MAX,MIN",
    help="Scale the pool between these, in place of -c.",
)
@click.option(
    "--prefetch-multiplier",
    type=click.IntRange(min=0),
    metavar="N",
    help="Messages held for each task at a time, at least.",
)
@click.option(
    "--time-limit", type=seconds, metavar="SECONDS", help="Hard limit of tasks without one."
)
@click.option(
    "--soft-time-limit", type=seconds, metavar="SECONDS", help="Soft limit of tasks without one."
)
@click.option(
    "--max-tasks-per-child", type=AT_LEAST_ONE, metavar="N", help="Then the child is replaced."
)
@click.option(
    "--max-memory-per-child",
    type=AT_LEAST_ONE,
    metavar="KIB",
    help="Past this, the child is replaced.",
)
@click.option(
    "-Q",
    "--queues",
    type=names,
    metavar="A,B",
    help="Queues to consume, in place of all declared ones.",
)
@click.option("-X", "--exclude-queues", type=names, metavar="A,B", help="Queues not to consume.")
@click.option("-I", "--include", type=names, metavar="A,B", help="More modules with tasks.")
@click.option(
    "-E",
    "--task-events",
    "--events",
    is_flag=True,
    default=None,
    help="Tell events of tasks and of the worker, for monitors.",
)
@click.option(
    "--heartbeat-interval",
    type=seconds,
    metavar="SECONDS",
    help="Between two heartbeats of a worker that tells events.",
)
@click.option("--without-heartbeat", is_flag=True, help="Tell no heartbeats.")
@click.option(
    "-S",
    "--statedb",
    metavar="PATH",
    expose_value=False,
    callback=_no_state_file,
    help="Taken for Celery's sake, and not used: the broker remembers what is revoked.",
)
@click.option("-B", "--beat", is_flag=True, help="Run a beat as well; other workers may too.")
@click.option("-s", "--schedule", metavar="PATH", help="With -B: a file for the schedule.")
@click.option("--scheduler", metavar="STORE", help="With -B: the schedule store, name or URL.")
@click.option(
    "--health",
    metavar="ADDRESS",
    help="Answer probes there, by /live and /ready: HOST:PORT, :PORT or unix:PATH.",
)
@click.option(
    "--reload", is_flag=True, help="Start anew when the app's code changes; for development."
)
@click.option("--purge", is_flag=True, help="First delete all messages that wait in its queues.")
@pass_session
def worker(
    session: Session,
    /,
    daemon: Daemon,
    queues: tuple[str, ...] | None,
    exclude_queues: tuple[str, ...] | None,
    include: tuple[str, ...] | None,
    autoscale: tuple[int, int] | None,
    beat: bool,
    schedule: str | None,
    scheduler: str | None,
    reload: bool,
    purge: bool,
    without_heartbeat: bool,
    **settings: Any,
) -> None:
    """Run tasks until TERM or Ctrl-C.

    The first TERM or INT lets running tasks finish; a second one, or QUIT, gives them back at
    once.
    """
    if not beat and (unused := "--schedule" if schedule else "--scheduler" if scheduler else None):
        raise Misuse(f"{unused} is for the beat of --beat: add that, or leave it out")
    if reload and daemon.detach:
        raise Misuse("--reload is for development: it does not go with --detach")
    if without_heartbeat:
        session.change("worker_heartbeat_interval", 0, "--without-heartbeat")
        settings.pop("heartbeat_interval")
    for option, value in settings.items():
        session.change(SETTING_OF[option], value, f"--{option.replace('_', '-')}")
    session.include = include or ()
    folder, started = os.getcwd(), time.time()
    with daemon.process(session):
        app = load_when_it_can_be(session) if reload else session.app()
        with daemon.running(app):
            declared = [queue.name for queue in app.queues()]
            selected = without(queues or declared, exclude_queues)
            services: Runs = _beat(app, schedule, scheduler) if beat else {}
            if reload:
                services["reload"] = lambda: restart_on_change(service, started)
            service = app.Worker(
                hostname=daemon.name,
                queues=selected,
                app_spec=session.app_spec,
                overrides=session.overrides(app),
                logfile=daemon.log_path,
                autoscale=autoscale,
                can_restart=_can_restart(session),
                services=services,
            )
            if not session.quiet:
                _show_banner(service, session, daemon.level)
            if purge:
                _purge(app, selected, session.quiet)
            status = _run(service, daemon)
    if service.restarts:
        app.close()
        start_anew(folder)
    click.get_current_context().exit(status)


def _run(service: Worker, daemon: Daemon) -> int:
    def ready(**arguments: object) -> None:
        daemon.ready()

    signals.worker_ready.connect(ready, sender=service)
    with redirected_stdouts(service.app.conf):
        return service.run()


def _can_restart(session: Session) -> bool:
    """Does HUP mean a restart?  At a terminal it means that this has been closed."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    return session.given is None and (session.detached or not at_terminal)


def _beat(app: TaskQ, schedule: str | None, scheduler: str | None) -> Runs:
    """A beat that starts and stops with the worker."""
    service = app.Beat(schedule=schedule, scheduler=scheduler)
    service.prepare()  # a mistake is told now, and not by a worker that has started
    return {"beat": service.serve}


SETTING_OF = {
    "concurrency": "worker_concurrency",
    "health": "worker_health",
    "heartbeat_interval": "worker_heartbeat_interval",
    "max_memory_per_child": "worker_max_memory_per_child",
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "pool": "worker_pool",
    "processes": "worker_processes",
    "prefetch_multiplier": "worker_prefetch_multiplier",
    "soft_time_limit": "task_soft_time_limit",
    "task_events": "worker_send_task_events",
    "time_limit": "task_time_limit",
}
"""The setting that an option stands for."""


def _show_banner(service: Worker, session: Session, level: int) -> None:
    from taskq.cli.banner import banner

    click.echo(banner(service, session.app_spec, with_tasks=level <= logging.INFO))


def _purge(app: TaskQ, queues: Sequence[str], quiet: bool) -> None:
    deleted = sum(app.broker.purge(queue) for queue in queues)
    if not quiet:
        click.echo(f"deleted {amount(deleted, 'message')} from {', '.join(queues)}")
