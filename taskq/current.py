"""Names for what is current when they are used: the app, and the task that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from taskq import context

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task import Task


class _Current:
    """Stands for another object, which is found anew each time."""

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_find", find)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._find())

    def __eq__(self, other: object) -> bool:
        return bool(self._find() == other)

    def __hash__(self) -> int:
        return hash(self._find())

    def __dir__(self) -> list[str]:
        return dir(self._find())

    def __repr__(self) -> str:
        try:
            return repr(self._find())
        except RuntimeError:  # debuggers and documentation ask anything for it
            return "<nothing is current>"


def _running_task() -> Any:
    app = context.get_current_app() if context.has_current_app() else None
    return app.current_task if app is not None else None


current_app = cast("TaskQ", _Current(context.get_current_app))
"""The app that was made last, or made current by `TaskQ.set_current`.

`get_current_app` gives the app itself.
"""
current_task = cast("Task[..., Any]", _Current(_running_task))
"""The task of the current app that this thread or coroutine is running; false if there is none."""


def bugreport(app: TaskQ | None = None) -> str:
    """Software, platform and settings, without secrets, for a bug report.

    Args:
        app: whose settings; the current app's by default.
    """
    return (app or context.get_current_app()).bugreport()
