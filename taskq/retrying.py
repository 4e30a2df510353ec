"""The message of a task's next run."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from taskq.message import TaskMessage, to_isoformat
from taskq.producer import CallOptions, Producer, SendOptions
from taskq.request import Request

if TYPE_CHECKING:
    from taskq.task import Task

_RENEWED = {"eta", "retries", "timelimit", "argsrepr", "kwargsrepr", "origin", "compression"}
"""Headers of a retry that are not those of the run before."""


def next_arguments(
    task: Task[..., Any],
    request: Request,
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the next run: those of this one, but for what is given.

    As in Celery: new positional arguments take the place of old keywords that they fill, and
    new keywords that of old positional ones.
    """
    if args is not None and kwargs is not None:
        return args, kwargs
    if args is None and kwargs is None:
        return tuple(request.args), dict(request.kwargs)
    parameters = task.parameters
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if kwargs is None:
        assert args is not None
        filled = {p.name for p in plain[: len(args)] if p.kind is p.POSITIONAL_OR_KEYWORD}
        return args, {name: v for name, v in request.kwargs.items() if name not in filled}
    values = list(request.args)
    kwargs = dict(kwargs)
    for place, parameter in enumerate(plain[: len(values)]):
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name in kwargs:
            values[place] = kwargs.pop(parameter.name)
    return tuple(values), kwargs


def retry_message(
    producer: Producer,
    task: Task[..., Any],
    request: Request,
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
    countdown: float | None,
    eta: datetime | None,
    options: SendOptions,
) -> TaskMessage:
    """Build the message of a task's next run: the same id, one retry more.

    Args:
        producer: builds it.
        task: the task.
        request: the run that is to be repeated; it is told the arguments of the next.
        args: other positional arguments, or None for the same.
        kwargs: other keyword arguments, or None for the same.
        countdown: in how many seconds; ignored if `eta` is given.
        eta: when.
        options: other options of the call.
    """
    assert request.message is not None
    old = request.message
    changed = args is not None or kwargs is not None
    args, kwargs = next_arguments(task, request, args, kwargs)
    request.retry_call = (args, kwargs)
    if request.is_eager:
        # The next run is in this process too: what it is given need not be encodable.
        args, kwargs = (), {}
    retries = request.retries + 1
    following: CallOptions = {
        "queue": request.queue or None,
        "priority": old.priority,
        "time_limit": request.timelimit[0],
        "soft_time_limit": request.timelimit[1],
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.chain,
        "chord": request.chord,
        "countdown": countdown if eta is None else None,
        "eta": eta,
        **options,
        "task_id": request.id,
        "retries": retries,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "once": f"{request.run_key}:retry",
        "reply_to": old.reply_to,
    }
    message = producer.build(task.name, args, kwargs, following, task)
    if not changed:
        message.body, message.content_type = old.body, old.content_type
        message.content_encoding = old.content_encoding
        if "compression" in old.headers:
            message.headers["compression"] = old.headers["compression"]
    message.headers.update((k, v) for k, v in old.headers.items() if k not in _RENEWED)
    return message


def retry_of_lost(task: Task[..., Any], message: TaskMessage, queue: str) -> TaskMessage | None:
    """The message of the next run of a task whose process has died; None if it has had them all.

    Its arguments are passed on as they came: the worker's parent does not open them.

    Args:
        task: the task.
        message: the run that was lost.
        queue: where it was taken from.
    """
    request = Request(message)
    if task.max_retries is not None and request.retries >= task.max_retries:
        return None
    due = time.time() + task.default_retry_delay
    headers = {**message.headers, "retries": request.retries + 1, "eta": to_isoformat(due)}
    once = f"{request.run_key}:retry"
    return replace(message, headers=headers, exchange="", routing_key=queue, due=due, once=once)
