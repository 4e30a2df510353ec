"""What is enqueued: looking at it, and asserting it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from taskq.context import get_current_app
from taskq.exceptions import ImproperlyConfigured, TaskQError
from taskq.execution.opening import Opener
from taskq.task import Task
from taskq.testing.apps import queue_names

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.message import TaskMessage

AnyTask = Task[..., Any]

_MANY = 10_000
"""Messages of a queue that are looked at."""
_SHOWN = 20
"""Of what is enqueued, so many are shown where something is missing."""


class Enqueued(NamedTuple):
    """A task that waits for a worker.

    Attributes:
        name: the task's name.
        id: its id.
        args: positional arguments, as a worker would get them.
        kwargs: keyword arguments, likewise.
        queue: where it waits.
        eta: when it is due; None if it is.
        priority: of the message.
        headers: of the message.
    """

    name: str
    id: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    queue: str
    eta: datetime | None
    priority: int
    headers: Mapping[str, Any]

    def __str__(self) -> str:
        due = f", due {self.eta.isoformat()}" if self.eta else ""
        return f"{_call(self.name, self.args, self.kwargs)} in queue {self.queue}{due}"


def enqueued(
    task: AnyTask | str | None = None, *, queue: str | None = None, app: TaskQ | None = None
) -> list[Enqueued]:
    """What waits in the queues, the next to be served of each first, without taking it.

    What a worker has taken is not among it.

    Args:
        task: only calls of this one, or of that name.
        queue: only what waits in this one.
        app: whose broker; that of the task, or the current app, by default.

    Raises:
        ImproperlyConfigured: this broker has no way to look into its queues.
        OperationalError: the broker cannot be reached.
    """
    app = _app_of(task, app)
    name = task.name if isinstance(task, Task) else task
    opener = Opener(app, "")
    found = []
    for each in [queue] if queue is not None else queue_names(app, app.broker):
        found += [_opened(opener, message, each) for message in _look(app, each)]
    return [item for item in found if name is None or item.name == name]


def assert_enqueued(
    task: AnyTask | str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    times: int | None = None,
    app: TaskQ | None = None,
) -> list[Enqueued]:
    """Assert that a call of a task waits in a queue.

    How arguments were passed does not matter if the task is known: ``add.delay(1, y=2)`` is
    the same call as ``add.delay(1, 2)``.

    Args:
        task: the task, or its name.
        args: positional arguments.  With `kwargs`, these are all that the call has; if only
            one of the two is given, the call may have others.
        kwargs: keyword arguments.
        queue: where it must wait; anywhere by default.
        times: how often exactly; at least once by default.
        app: whose broker; the task's app, or the current one, by default.

    Returns:
        The calls that were meant.

    Raises:
        AssertionError: it is not there, or not as often; the message lists what is.
    """
    app = _app_of(task, app)
    waiting = enqueued(queue=queue, app=app)
    found = [item for item in waiting if _is_meant(app, item, task, args, kwargs)]
    if len(found) == times or (times is None and found):
        return found
    how_often = f"{len(found)} times, not {times}" if times is not None and found else "not"
    raise AssertionError(
        f"{_wanted(task, args, kwargs)} is {how_often} enqueued"
        f"{f' in queue {queue}' if queue else ''}; {_listing(app, enqueued(app=app))}"
    )


def assert_not_enqueued(
    task: AnyTask | str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    app: TaskQ | None = None,
) -> None:
    """Assert that no such call waits in a queue; the arguments are those of `assert_enqueued`.

    Raises:
        AssertionError: there is one; the message lists what is enqueued.
    """
    app = _app_of(task, app)
    waiting = enqueued(queue=queue, app=app)
    found = [item for item in waiting if _is_meant(app, item, task, args, kwargs)]
    if found:
        raise AssertionError(
            f"{_wanted(task, args, kwargs)} must not be enqueued, and is {len(found)} times; "
            f"{_listing(app, waiting)}"
        )


def _app_of(task: AnyTask | str | None, app: TaskQ | None) -> TaskQ:
    if app is not None:
        return app
    return task.app if isinstance(task, Task) else get_current_app()


def _look(app: TaskQ, queue: str) -> list[TaskMessage]:
    broker = app.broker
    try:
        return broker.browse(queue, _MANY)
    except (ImproperlyConfigured, NotImplementedError) as exc:
        raise ImproperlyConfigured(
            f"{type(broker).__name__} has no way to look into its queues: use the memory broker "
            f"in this test ({exc})"
        ) from exc


def _opened(opener: Opener, message: TaskMessage, queue: str) -> Enqueued:
    try:
        request = opener.open(message, queue, 0)
        args, kwargs = tuple(request.args), request.kwargs
    except TaskQError as exc:  # what nobody can read is shown, too
        args, kwargs = (exc,), {}
    eta = datetime.fromtimestamp(message.due, UTC) if message.due else None
    return Enqueued(
        message.task, message.id, args, kwargs, queue, eta, message.priority, message.headers
    )


def _is_meant(
    app: TaskQ,
    item: Enqueued,
    task: AnyTask | str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> bool:
    if item.name != (task.name if isinstance(task, Task) else task):
        return False
    if args is None and kwargs is None:
        return True
    known = task if isinstance(task, Task) else app.tasks.get(task)
    wanted = _bound(known, *_as_sent(app, known, tuple(args or ()), kwargs or {}))
    found = {**_defaults(known), **_bound(known, item.args, item.kwargs)}
    if args is not None and kwargs is not None:
        return {**_defaults(known), **wanted} == found
    return all(key in found and found[key] == value for key, value in wanted.items())


def _as_sent(
    app: TaskQ, task: AnyTask | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Arguments as a worker gets them: in JSON, a tuple within them becomes a list."""
    if task is not None and task.models is not None:
        args, kwargs = task.models.dump_arguments(args, kwargs)
    serializer = (task.serializer if task is not None else None) or app.conf.task_serializer
    kind, encoding, body = app.serializers.encode([args, kwargs], serializer)
    sent_args, sent_kwargs = app.serializers.decode(body, kind, encoding, frozenset([kind]))
    return sent_args, sent_kwargs


def _bound(
    task: AnyTask | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str | int, Any]:
    """Arguments by the names of parameters, or by their places where those are not known."""
    named: dict[str | int, Any] = dict(enumerate(args))
    named.update(kwargs.items())
    if task is None:
        return named
    signature = inspect.Signature(task.parameters)
    try:
        bound = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return named
    named = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named.update(enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return named


def _defaults(task: AnyTask | None) -> dict[str | int, Any]:
    parameters = task.parameters if task is not None else ()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _wanted(
    task: AnyTask | str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> str:
    name = task.name if isinstance(task, Task) else task
    if args is None and kwargs is None:
        return name
    return _call(name, args or (), kwargs or {}, open_ended=args is None or kwargs is None)


def _call(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], open_ended: bool = False
) -> str:
    shown = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return f"{name}({', '.join([*shown, '...'] if open_ended else shown)})"


def _listing(app: TaskQ, waiting: Sequence[Enqueued]) -> str:
    if not waiting:
        eager = "task_always_eager is on, and so tasks run where they are called"
        return eager if app.conf.task_always_eager else "nothing is enqueued at all"
    lines = [f"  {item}" for item in waiting[:_SHOWN]]
    if len(waiting) > _SHOWN:
        lines.append(f"  and {len(waiting) - _SHOWN} more")
    return "\n".join(["what is enqueued:", *lines])
