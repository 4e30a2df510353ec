"""``taskq result``: shows how a task has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskq import states
from taskq.cli.command import Command
from taskq.cli.failure import Failure
from taskq.cli.output import show_json
from taskq.cli.session import Session, pass_session
from taskq.cli.types import seconds
from taskq.exceptions import TimeoutError

if TYPE_CHECKING:
    from taskq import AsyncResult


@click.command("result", cls=Command)
@click.argument("task_id", metavar="ID")
@click.option("--traceback", is_flag=True, help="Show the traceback of a task that failed.")
@click.option("--wait", type=seconds, metavar="SECONDS", help="Wait so long for it to end.")
@pass_session
def result(session: Session, /, task_id: str, traceback: bool, wait: float | None) -> None:
    """Print the result of the task ID.

    Text is printed as it is, other values as JSON. The exit status is 0 if the task has succeeded,
    and 1 if it has failed or not ended.
    """
    # A result store that is named needs no broker beside it.
    named = "result_backend" in session.changes
    app = session.any_app() if named else session.connected_app()
    found = app.AsyncResult(task_id)
    if wait is not None:
        _wait(found, wait)
    state, value = found.state, found.result
    if state == states.SUCCESS:
        _show(value)
        return
    if traceback and found.traceback:
        click.echo(found.traceback.rstrip())
    raise Failure(_why_not(found, state, value))


def _wait(found: AsyncResult[Any], limit: float) -> None:
    try:
        found.get(timeout=limit, propagate=False)
    except TimeoutError:
        pass  # what is known of it is said all the same


def _show(value: Any) -> None:
    if isinstance(value, str):
        click.echo(value)
    else:
        show_json(value)


def _why_not(found: AsyncResult[Any], state: str, value: Any) -> str:
    if isinstance(value, BaseException):
        return f"{found.id}: {state}: {type(value).__name__}: {value}"
    if state == states.PENDING and not found.exists():
        return (
            f"{found.id}: nothing is known of it: it waits, its result has expired or is not "
            "kept, or there is no such task"
        )
    said = f": {value!r}" if value is not None else ""
    return f"{found.id}: {state}{said}: it has not ended"
