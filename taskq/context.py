"""Where the running code is: the current app, its shared tasks, and the current task.

This is all the module-level state that taskq has.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.control.commands import CommandInfo
    from taskq.request import Request

running: ContextVar[Request | None] = ContextVar("taskq_running", default=None)
"""The request of the task that this thread or coroutine is running."""

_current_app: TaskQ | None = None
_shared: list[tuple[Callable[..., Any], dict[str, Any], Any]] = []
_commands: dict[str, tuple[CommandInfo, Callable[..., Any]]] = {}


def set_current_app(app: TaskQ | None) -> None:
    """Make an app the one that `shared_task` and `current_app` refer to."""
    global _current_app
    _current_app = app


def has_current_app() -> bool:
    """Has an app been made in this process?"""
    return _current_app is not None


def get_current_app() -> TaskQ:
    """The app that was made last, or made current by `TaskQ.set_current`.

    Raises:
        RuntimeError: no app has been made in this process.
    """
    if _current_app is None:
        raise RuntimeError(
            "there is no current app: make one with app = TaskQ('proj') and import its module first"
        )
    return _current_app


def add_shared_task(function: Callable[..., Any], options: dict[str, Any], task: Any) -> None:
    """Remember a function that every app made from now on takes in as a task.

    Args:
        function: the function.
        options: the task's options.
        task: what it is called by; the first app takes it in, if there was none before.
    """
    _shared.append((function, options, task))


def shared_tasks() -> list[tuple[Callable[..., Any], dict[str, Any], Any]]:
    """The functions that were given to `shared_task`, with what was given along."""
    return list(_shared)


def add_command(info: CommandInfo, function: Callable[..., Any]) -> None:
    """Remember a command of remote control that every worker in this process answers."""
    _commands[info.name] = info, function


def commands() -> list[tuple[CommandInfo, Callable[..., Any]]]:
    """The commands that were given to `control_command` and `inspect_command`."""
    return list(_commands.values())
