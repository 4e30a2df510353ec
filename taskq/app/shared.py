"""Tasks of whatever app there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, overload

from taskq import context
from taskq.app.tasks import make_task
from taskq.task import Task, TaskOptions

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], **options: Unpack[TaskOptions]
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(
    *, bind: Literal[False] = False, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(
    function: Any = None, /, *, bind: bool = False, **options: Unpack[TaskOptions]
) -> Any:
    """A task of whatever app there is: for libraries, and for Django's reusable apps.

    It is taken in by the current app, or by the first one that is made, and by every app that
    is made later.

    Args:
        function: the function.
        bind: give the task itself to the function, as its first argument.
        options: see `TaskOptions`.
    """
    if function is not None:
        return _share(function, {"bind": bind, **options})
    return lambda decorated: _share(decorated, {"bind": bind, **options})


def _share(function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any]:
    if context.has_current_app():
        adopted = context.get_current_app().adopt(function, options)
        context.add_shared_task(function, options, adopted)
        return adopted
    own = dict(options)
    task = make_task(function, own.pop("bind", False), own, Task)
    context.add_shared_task(function, options, task)
    return task
