"""What a task's class may do at the turns of its life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.failure import ExceptionInfo


class Handlers(NamedTuple):
    """The handlers that a task's class overrides; None where it does not.

    What nobody has written is never called.
    """

    before_start: Callable[..., None] | None
    on_success: Callable[..., None] | None
    on_retry: Callable[..., None] | None
    on_failure: Callable[..., None] | None
    after_return: Callable[..., None] | None


class TaskHandlers:
    """The handlers of a task, for subclasses to override."""

    def overridden_handlers(self) -> Handlers:
        """Those handlers that the task's class, or the task itself, has of its own."""
        return Handlers(*map(self._overridden, Handlers._fields))

    def _overridden(self, name: str) -> Callable[..., None] | None:
        own = name in vars(self) or getattr(type(self), name) is not getattr(TaskHandlers, name)
        return getattr(self, name) if own else None

    @classmethod
    def on_bound(cls, app: TaskQ) -> None:
        """Called when the app takes the task in."""

    def before_start(self, task_id: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Called before `run`."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Called when it succeeded."""

    def on_retry(
        self,
        exc: BaseException,
        task_id: str,
        args: Any,
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
    ) -> None:
        """Called when it is going to be run again."""

    def on_failure(
        self,
        exc: BaseException,
        task_id: str,
        args: Any,
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
    ) -> None:
        """Called when it failed for good."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Any,
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo | None,
    ) -> None:
        """Called when it ended, in whatever way."""

    def shadow_name(
        self, args: Any, kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str | None:
        """Another name for logs, from the arguments."""
        return None
