"""Running a task in the caller's process, as if a worker had taken it at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from taskq import states
from taskq.brokers.base import Fate
from taskq.canvas import Signature
from taskq.canvas.call_data import as_list
from taskq.execution import Report, TaskRunner
from taskq.execution.calling import call
from taskq.failure import ExceptionInfo
from taskq.follow_ups import FollowUps
from taskq.request import Request
from taskq.result import EagerResult

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.producer import CallOptions
    from taskq.task import Task

T = TypeVar("T")


class Eager:
    """How functions are called that run eagerly; bridges to other software have ways of theirs."""

    def invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a task's function, and drive it if it is a coroutine."""
        return call(function, args, kwargs)

    async def aside(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call what blocks, from code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        return await asyncio.to_thread(function, *args, **kwargs)


def run_eagerly(
    app: TaskQ,
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    throw: bool | None,
    options: CallOptions,
) -> EagerResult[Any]:
    """Run a task here and now, retries and callbacks included.

    Arguments are not encoded, so that tests may pass whatever they like; times are not
    waited for.

    Args:
        app: whose task it is.
        task: the task.
        args: positional arguments.
        kwargs: keyword arguments.
        throw: raise what it raises; the setting ``task_eager_propagates`` by default.
        options: as for `Task.apply_async`.
    """
    if task.typing:
        task.check_arguments(args, kwargs)
    runner = TaskRunner(app, invoke=app.eager.invoke)
    message = app.producer.build(task.name, (), {}, options, task)
    embed = {"callbacks": options.get("link"), "errbacks": options.get("link_error")}
    while True:
        request = Request(message, args, kwargs, _listed(embed), is_eager=True)
        report, value = runner.execute(0, task, request)
        if report.state != states.RETRY or request.retry_message is None:
            break
        message = request.retry_message
        args, kwargs = request.retry_call
    if report.outcome is not None:
        app.backend.store([report.outcome])
    failed = report.state in states.PROPAGATE_STATES
    if failed and (app.conf.task_eager_propagates if throw is None else throw):
        raise value
    if report.state == states.SUCCESS:
        for callback in request.callbacks or ():
            Signature.from_dict(callback, app).apply((value,))
    return EagerResult(message.id, value, report.state, report.traceback, task.name)


def fail_eagerly(
    app: TaskQ, steps: Sequence[Signature], error: Exception, throw: bool | None
) -> EagerResult[Any]:
    """End steps here that cannot run, and tell their errbacks.

    Args:
        app: whose task it is.
        steps: what cannot run.
        error: why.
        throw: raise the error; the setting ``task_eager_propagates`` by default.
    """
    first = steps[0]
    task_id = first.id if first.subtask_type is None else None
    message = app.producer.build(first.task, (), {}, {"task_id": task_id})
    errors = [each for step in steps for each in as_list(step["options"].get("link_error"))]
    request = Request(message, embed={"errbacks": _each_once(errors)}, is_eager=True)
    report = Report(0, Fate.DONE, states.FAILURE)
    info = ExceptionInfo(error)
    FollowUps(app).tell_failure(report, request, error, info)
    result_id = first.id or message.id
    if app.conf.task_store_eager_result:
        codec = app.result_codec
        app.backend.store([codec.encode(result_id, states.FAILURE, error, info.traceback)])
    if app.conf.task_eager_propagates if throw is None else throw:
        raise error
    return EagerResult(result_id, error, states.FAILURE, info.traceback, first.task)


def _each_once(signatures: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for each in signatures:
        if each not in found:
            found.append(each)
    return found


def _listed(embed: Mapping[str, Any]) -> dict[str, list[Any]]:
    """One signature or several, as a list."""
    return {
        key: list(value) if isinstance(value, list | tuple) else [value]
        for key, value in embed.items()
        if value
    }
