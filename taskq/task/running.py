"""What a task can do while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Unpack, cast

from taskq.canvas.signature import Signature
from taskq.context import running
from taskq.exceptions import Ignore, MaxRetriesExceededError, Retry
from taskq.producer import SendOptions
from taskq.replacing import joined, replacement
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
    MaxRetriesExceededError: ClassVar[type[MaxRetriesExceededError]] = MaxRetriesExceededError

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
            f"kwargs:{dict(request.kwargs)} after {request.retries} retries",
            task_args=tuple(request.args),
            task_kwargs=dict(request.kwargs),
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

    def replace(self, sig: Signature) -> Any:
        """End here, and let another task, or a whole workflow, take this one's place.

        It gets this task's id, so that whoever waits gets its result, and all that followed
        this task follows it: callbacks, errbacks, the rest of the chain, the chord.  It is
        sent when this run is settled, in the same step.  Write
        ``return self.replace(...)``, to show that nothing is run after it.

        Args:
            sig: what takes its place; of a group the result is the list of its members'.

        Returns:
            The result, for a task that runs in the caller's process; otherwise it raises.

        Raises:
            Ignore: always, in a worker.
            ImproperlyConfigured: it is a member of a chord itself, or has no tasks.
        """
        request = self.request
        if request.is_eager or request.called_directly:
            return self.on_replace(sig)
        return self.on_replace(replacement(self.app, request, sig))

    def on_replace(self, sig: Signature) -> Any:
        """Called with what takes this task's place, and all that follows it; ends the run."""
        request = self.request
        if request.is_eager or request.called_directly:
            return sig.apply(throw=True).get(disable_sync_subtasks=False)
        request.replacement = sig
        raise Ignore("replaced by another task")

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:
        """Add one more member to the chord that this task is a member of.

        The body gets its result behind those of the members that the chord began with.

        Args:
            sig: the member.
            lazy: do not send it; the caller sends what is returned.

        Returns:
            Its result, or with `lazy` the signature.

        Raises:
            ValueError: this task is in no chord.
            ImproperlyConfigured: the result store cannot add members.
        """
        member = joined(self.app, self.request, sig)
        return member if lazy else member.apply_async()

    def add_trail(self, result: Any) -> Any:
        """Remember a result as one of this task's children, and return it."""
        if self.trail:
            self.request.children.append(result)
        return result

    def signature_from_request(
        self,
        request: Request | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **options: Any,
    ) -> Signature:
        """The call that has led to an execution, as a signature.

        Args:
            request: the execution; the one that is going on by default.
            args: other positional arguments.
            kwargs: other keyword arguments.
            queue: another queue.
            options: other options of the call.
        """
        found = self.request if request is None else request
        known = {
            "task_id": found.id,
            "root_id": found.root_id,
            "parent_id": found.parent_id,
            "retries": found.retries,
            "group_id": found.group,
            "group_index": found.group_index,
            "chord": found.chord,
            "chain": list(found.chain or ()),
            "link": found.callbacks,
            "link_error": found.errbacks,
            "time_limit": found.time_limit,
            "soft_time_limit": found.soft_time_limit,
            "expires": found.expires,
            "shadow": found.shadow,
            "reply_to": found.reply_to,
            "priority": found.message.priority if found.message is not None else None,
            "delivery_mode": found.message.delivery_mode if found.message is not None else None,
            "queue": queue or found.queue or None,
            "replaced_task_nesting": found.replaced_task_nesting,
            **({"stamped_headers": found.stamped_headers} if found.stamped_headers else {}),
            **found.stamps,
        }
        return Signature(
            self,
            found.args if args is None else args,
            found.kwargs if kwargs is None else kwargs,
            {**{key: value for key, value in known.items() if value}, **options},
            app=self.app,
        )

    subtask_from_request = signature_from_request

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
