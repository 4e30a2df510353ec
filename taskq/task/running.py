"""What a task can do while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Unpack, cast

from taskq.context import running
from taskq.exceptions import MaxRetriesExceededError, Retry
from taskq.producer import SendOptions
from taskq.request import Request
from taskq.retrying import retry_message
from taskq.task.options import TaskAttributes

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task.task import Task

_DIRECT = Request(None)


class RunningTask(TaskAttributes):
    """The part of a task that is for its own function: its request, and what it may ask for."""

    app: TaskQ
    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError

    @property
    def request(self) -> Request:
        """The execution of this task that is going on in this thread or coroutine.

        A task that another one calls as a function has none: it cannot be retried alone.
        """
        request = running.get()
        return request if request is not None and request.task == self.name else _DIRECT

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Unpack[SendOptions],
    ) -> Retry:
        """Run this task again later, under the same id.

        The next run is sent when this one is settled, in the same step.

        Args:
            args: other positional arguments.
            kwargs: other keyword arguments.
            exc: the error; raised when no retries are left.
            throw: raise `Retry`, which ends this run; otherwise return it.
            eta: when.
            countdown: in how many seconds; ``default_retry_delay`` if neither is given.
            max_retries: another limit for this once.
            options: other options of the next run, such as ``queue`` or ``priority``.

        Raises:
            Retry: always, unless `throw` is false.
            MaxRetriesExceededError: no retries are left and no `exc` is given.
        """
        request = self.request
        if request.called_directly or request.message is None:
            raise exc or Retry("Task can be retried", None)
        limit = self.max_retries if max_retries is None else max_retries
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        if limit is not None and request.retries >= limit:
            self._give_up(request, exc)
        request.retry_message = retry_message(
            self.app.producer,
            cast("Task[..., Any]", self),
            request,
            None if args is None else tuple(args),
            None if kwargs is None else dict(kwargs),
            countdown,
            eta,
            options,
        )
        retry = Retry(exc=exc, when=eta if countdown is None else countdown)
        retry.is_eager = request.is_eager
        if throw:
            raise retry from exc
        return retry

    def _give_up(self, request: Request, exc: BaseException | None) -> NoReturn:
        if exc is not None:
            raise exc
        raise self.MaxRetriesExceededError(
            f"Can't retry {self.name}[{request.id}] args:{request.args} "
            f"kwargs:{dict(request.kwargs)} after {request.retries} retries"
        )

    def backoff(self, retries: int) -> float | None:
        """Seconds before an automatic retry, or None for the task's default.

        Celery's formula: ``min(retry_backoff_max, retry_backoff * 2**retries)``, and with
        jitter a random time between 0 and that.
        """
        if not self.retry_backoff:
            return None
        # The exponent is bounded: past it every delay is at its maximum anyway.
        delay: float = min(self.retry_backoff_max, self.retry_backoff * 2.0 ** min(retries, 64))
        if not self.retry_jitter:
            return delay
        # Imported here since only retries need it.
        import random

        return random.uniform(0, delay)

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
    ) -> None:
        """Tell whoever watches how far it is.

        Args:
            task_id: the task's id; the running one's by default.
            state: a state of the task's own, such as "PROGRESS".
            meta: what `AsyncResult.info` then gives.
        """
        task_id = task_id or self.request.id
        if task_id is not None and state is not None:
            self.app.store_state(task_id, state, meta)

    async def aupdate_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None
    ) -> None:
        """`update_state` for tasks that are coroutines."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        await asyncio.to_thread(self.update_state, task_id or self.request.id, state, meta)

    def send_event(self, type: str, **fields: Any) -> bool:
        """Tell an event of this run, such as ``task-progress``; see `taskq.events`.

        Args:
            type: its type.
            fields: what is to be told, fit for JSON.

        Returns:
            Whether it was told; the broker may be away, which is no error.

        Raises:
            ImproperlyConfigured: the broker cannot tell anything to everybody.
        """
        request = self.request
        fields.setdefault("uuid", request.id)
        return self.app.events.send(type, hostname=request.hostname or None, **fields)

    async def asend_event(self, type: str, **fields: Any) -> bool:
        """`send_event` for tasks that are coroutines."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        request = self.request
        fields.setdefault("uuid", request.id)
        hostname = request.hostname or None
        return await asyncio.to_thread(self.app.events.send, type, hostname=hostname, **fields)
