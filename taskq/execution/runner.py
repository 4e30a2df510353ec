"""Running a task, and saying what came of it.

The same code runs in a worker's children, in the solo pool and in `Task.apply`.  It
talks to no broker and no store: what it returns, a `Report`, says what has to happen.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq import exceptions, signals, states
from taskq.backends.base import Outcome
from taskq.brokers.base import Fate
from taskq.context import running
from taskq.exceptions import Ignore, InvalidTaskError, Reject, Retry
from taskq.execution.calling import (
    Invoke,
    call,
    call_of,
    guarded,
    retries_by_itself,
    short_repr,
    signal_of,
    tell_internal_error,
)
from taskq.execution.opening import Opener
from taskq.execution.recorder import Recorder
from taskq.execution.report import Report, Sentence
from taskq.failure import ExceptionInfo, safe_repr
from taskq.follow_ups import FollowUps
from taskq.message import TaskMessage
from taskq.request import Request

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task import Task

logger = logging.getLogger("taskq.task")


class TaskRunner:
    """Runs tasks of an app.

    Args:
        app: whose tasks, settings and serializers.
        hostname: the worker's name.
        invoke: calls a function with arguments, and drives it if it is a coroutine.
        verbose: put the result's text into reports.
        on_start: given the state STARTED of tasks that are tracked.
    """

    def __init__(
        self,
        app: TaskQ,
        hostname: str = "",
        invoke: Invoke | None = None,
        verbose: bool = False,
        on_start: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._invoke = invoke or call
        self._verbose = verbose
        self._on_start = on_start
        self._follow_ups = FollowUps(app)
        self._opener = Opener(app, hostname)
        self._recorder = Recorder(app, hostname)
        self._tracks = app.conf.task_track_started
        self._middleware = app.middleware

    def run(self, ticket: int, message: TaskMessage, queue: str, deliveries: int) -> Report:
        """Decode a message, run its task and say what came of it.

        Never raises because of the message or the task; an exit (`SystemExit`,
        `KeyboardInterrupt`) does come through.
        """
        try:
            task = self._app.tasks[message.task]
            request = self._opener.open(message, queue, deliveries)
        except Exception as exc:  # whatever a sender can put into a message
            return self.refuse(ticket, message, queue, exc)
        return self.execute(ticket, task, request)[0]

    async def run_async(
        self, ticket: int, message: TaskMessage, queue: str, deliveries: int
    ) -> Report:
        """`run` for a coroutine function, on the event loop that is running."""
        try:
            task = self._app.tasks[message.task]
            request = self._opener.open(message, queue, deliveries)
        except Exception as exc:  # whatever a sender can put into a message
            return self.refuse(ticket, message, queue, exc)
        request.trail = task.trail
        token = running.set(request)
        started = time.perf_counter()
        try:
            self._before(task, request)
            if self._middleware.executing:
                value = await self._middleware.aexecute(request, call_of(task, request))
            else:
                value = await task.run(*request.args, **request.kwargs)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # asyncio.CancelledError is no Exception, and no exit
            value = exc
            report = self._ended_early(ticket, task, request, exc, started)
        else:
            report, value = self._returned(ticket, task, request, value, started)
        finally:
            running.reset(token)
        if signals.task_postrun.receivers:
            signal_of(signals.task_postrun, task, request, retval=value, state=report.state)
        return report

    def refuse(self, ticket: int, message: TaskMessage, queue: str, exc: Exception) -> Report:
        """The report of a message that cannot be read; a chord that it is of counts it."""
        info = ExceptionInfo(exc)
        signals.task_rejected.send(self._app, message=message, exc=exc)
        return Report(
            ticket,
            Fate.DEAD,
            states.FAILURE,
            outcome=self._app.result_codec.encode(
                message.id, states.FAILURE, exc, info.traceback, message.headers
            ),
            text=safe_repr(exc),
            reason=f"{type(exc).__name__}: {exc}",
            part=self._follow_ups.part_of(message, queue, states.FAILURE, exc),
        )

    def withdraw(self, ticket: int, message: TaskMessage, queue: str, exc: Exception) -> Report:
        """The report of a message whose own report cannot be sent; its chord still counts it."""
        report = self.refuse(ticket, message, queue, exc)
        try:
            request = self._opener.open(message, queue, 1)
            self._follow_ups.tell_failure(report, request, exc, ExceptionInfo(exc), errbacks=False)
        except Exception:
            logger.debug("%s has nobody to tell", message.id, exc_info=True)
        return report

    def pronounce(
        self, ticket: int, message: TaskMessage, queue: str, sentence: Sentence
    ) -> Report:
        """Tell whoever must know that a task has ended without running to its end.

        Its errbacks, the later steps of its chain and its chord are in the body, which only
        a process that runs tasks may decode.
        """
        report = Report(ticket, Fate.DONE, sentence.state)
        exc: Exception = getattr(exceptions, sentence.error)(sentence.text)
        try:
            request = self._opener.open(message, queue, 1)
            info = ExceptionInfo(exc)
            self._follow_ups.tell_failure(report, request, exc, info, not sentence.quiet)
        except Exception:  # whatever a sender can put into a message
            logger.debug("%s has nobody to tell but a chord", message.id, exc_info=True)
            report.part = self._follow_ups.part_of(message, queue, states.FAILURE, exc)
        return report

    def execute(self, ticket: int, task: Task[..., Any], request: Request) -> tuple[Report, Any]:
        """Run a task whose arguments are decoded.

        Returns:
            The report, and the value or exception itself for callers in this process.
        """
        request.trail = task.trail
        token = running.set(request)
        try:
            report, value = self._attempt(ticket, task, request, time.perf_counter())
        finally:
            running.reset(token)
        if signals.task_postrun.receivers:
            signal_of(signals.task_postrun, task, request, retval=value, state=report.state)
        return report, value

    def _attempt(
        self, ticket: int, task: Task[..., Any], request: Request, started: float
    ) -> tuple[Report, Any]:
        try:
            self._before(task, request)
            if self._middleware.executing:
                value = self._run_within(task, request)
            else:
                value = self._invoke(task.run, request.args, request.kwargs)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # asyncio.CancelledError is no Exception, and no exit
            return self._ended_early(ticket, task, request, exc, started), exc
        return self._returned(ticket, task, request, value, started)

    def _run_within(self, task: Task[..., Any], request: Request) -> Any:
        """Run it with the app's middleware around it."""
        around = self._middleware
        run = call_of(task, request)
        if inspect.iscoroutinefunction(task.run):
            return self._invoke(around.aexecute, (request, run), {})
        return self._invoke(around.execute, (request, run), {})

    def _before(self, task: Task[..., Any], request: Request) -> None:
        if signals.task_prerun.receivers:
            signal_of(signals.task_prerun, task, request)
        if task.track_started or self._tracks:
            self._track(task, request)
        if task.handlers.before_start:
            task.handlers.before_start(request.id, request.args, request.kwargs)

    def _returned(
        self, ticket: int, task: Task[..., Any], request: Request, value: Any, started: float
    ) -> tuple[Report, Any]:
        try:
            return self._succeeded(ticket, task, request, value, started), value
        except Exception as exc:  # the result, or what must follow, cannot be encoded
            tell_internal_error(task, request, exc)
            runtime = time.perf_counter() - started
            return self._failed(ticket, task, request, exc, runtime), exc

    def _track(self, task: Task[..., Any], request: Request) -> None:
        """Tell that it has started, if anybody may read it."""
        tracked = self._tracks if task.track_started is None else task.track_started
        if tracked and self._on_start is not None and not self._recorder.ignores(task, request):
            meta = {"pid": os.getpid(), "hostname": self._hostname}
            outcome = self._recorder.encode(task, request, states.STARTED, meta)
            if outcome is not None:
                outcome.reply_to = request.reply_to
                self._on_start(outcome)

    def _announced(self, messages: list[TaskMessage]) -> list[TaskMessage]:
        """What follows the task: it is sent in the step that settles it, by the worker's parent."""
        if messages:
            self._app.producer.announce(messages)
            self._app.producer.published(messages)
        return messages

    # It returned

    def _succeeded(
        self, ticket: int, task: Task[..., Any], request: Request, value: Any, started: float
    ) -> Report:
        runtime = time.perf_counter() - started
        report = Report(ticket, Fate.DONE, states.SUCCESS, runtime)
        embed = request.embed
        if request.retry_message or embed.get("chain") or embed.get("callbacks"):
            report.follow_ups = self._announced(self._follow_ups.of_success(request, value))
        if not self._recorder.ignores(task, request):
            report.outcome = self._recorder.encode(task, request, states.SUCCESS, value)
        if embed.get("chord"):
            report.part = self._follow_ups.part(request, states.SUCCESS, value, report.outcome)
        if self._verbose:
            report.text = short_repr(value, task.resultrepr_maxsize)
        if signals.task_success.receivers:
            signals.task_success.send(task, result=value, runtime=runtime)
        args = (request.id, request.args, request.kwargs)
        guarded(task.handlers.on_success, value, *args)
        guarded(task.handlers.after_return, states.SUCCESS, value, *args, None)
        return report

    # It raised

    def _ended_early(
        self,
        ticket: int,
        task: Task[..., Any],
        request: Request,
        exc: BaseException,
        started: float,
    ) -> Report:
        runtime = time.perf_counter() - started
        if isinstance(exc, Ignore):
            return self._ignored(ticket, task, request, runtime)
        if isinstance(exc, Reject):
            return self._rejected(ticket, request, exc, runtime)
        try:
            if isinstance(exc, Retry):
                return self._retried(ticket, task, request, exc, runtime)
            if retries_by_itself(task, exc):
                return self._retry_by_itself(ticket, task, request, exc, runtime)
        except Exception as failure:  # no retries left, or the retry cannot be encoded
            exc = failure
        return self._failed(ticket, task, request, exc, runtime)

    def _ignored(
        self, ticket: int, task: Task[..., Any], request: Request, runtime: float
    ) -> Report:
        report = Report(ticket, Fate.DONE, states.IGNORED, runtime)
        if request.replacement is None:
            report.part = self._follow_ups.part(request, states.SUCCESS, None)
            return report
        try:
            report.follow_ups = self._announced(self._follow_ups.of_replacement(request))
        except Exception as exc:  # it cannot be encoded, or there is no such queue
            return self._failed(ticket, task, request, exc, runtime)
        report.text = "replaced by another task"
        return report

    def _rejected(self, ticket: int, request: Request, exc: Reject, runtime: float) -> Report:
        signals.task_rejected.send(self._app, message=request.message, exc=exc)
        fate = Fate.REQUEUE if exc.requeue else Fate.DEAD
        reason = f"rejected by the task: {exc.reason}"
        report = Report(ticket, fate, states.REJECTED, runtime, text=repr(exc), reason=reason)
        if fate is Fate.DEAD:
            report.part = self._follow_ups.part(request, states.FAILURE, exc)
        return report

    def _retry_by_itself(
        self,
        ticket: int,
        task: Task[..., Any],
        request: Request,
        exc: BaseException,
        runtime: float,
    ) -> Report:
        options = dict(task.retry_kwargs)
        if "countdown" not in options and "eta" not in options:
            options["countdown"] = task.backoff(request.retries)
        try:
            task.retry(exc=exc, **options)
        except Retry as retry:
            return self._retried(ticket, task, request, retry, runtime)
        raise exc

    def _retried(
        self, ticket: int, task: Task[..., Any], request: Request, retry: Retry, runtime: float
    ) -> Report:
        if request.retry_message is None:
            raise InvalidTaskError("raise self.retry(...), not Retry: only it sends the task again")
        cause = retry.exc or retry
        info = ExceptionInfo(retry)
        report = Report(ticket, Fate.DONE, states.RETRY, runtime)
        report.follow_ups = self._announced([request.retry_message])
        report.text = str(retry)
        report.traceback = info.traceback
        if not self._recorder.ignores(task, request):
            report.outcome = self._recorder.encode(
                task, request, states.RETRY, cause, info.traceback
            )
        if signals.task_retry.receivers:
            signals.task_retry.send(task, request=request, reason=retry, einfo=info)
        args = (request.id, request.args, request.kwargs, info)
        guarded(task.handlers.on_retry, cause, *args)
        guarded(task.handlers.after_return, states.RETRY, retry, *args)
        return report

    def _failed(
        self,
        ticket: int,
        task: Task[..., Any],
        request: Request,
        exc: BaseException,
        runtime: float,
    ) -> Report:
        info = ExceptionInfo(exc)
        report = Report(ticket, Fate.DONE, states.FAILURE, runtime, text=safe_repr(exc))
        if not isinstance(exc, task.throws):
            report.traceback = info.traceback
        conf = self._app.conf
        acks = conf.task_acks_on_failure if task.acks_on_failure is None else task.acks_on_failure
        if not acks:
            report.fate = Fate.DEAD
            report.reason = f"it failed, and acks_on_failure is off: {report.text}"
        if self._recorder.keeps_failure(task, request):
            report.outcome = self._recorder.encode(
                task, request, states.FAILURE, exc, info.traceback
            )
        self._follow_ups.tell_failure(report, request, exc, info)
        self._announced(report.follow_ups)
        if signals.task_failure.receivers:
            signals.task_failure.send(
                task,
                task_id=request.id,
                exception=exc,
                args=request.args,
                kwargs=request.kwargs,
                traceback=exc.__traceback__,
                einfo=info,
            )
        args = (request.id, request.args, request.kwargs, info)
        guarded(task.handlers.on_failure, exc, *args)
        guarded(task.handlers.after_return, states.FAILURE, exc, *args)
        return report
