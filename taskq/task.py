"""The task: a function with a name, options, and ways to call it elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NoReturn,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from taskq.canvas.signature import Signature
from taskq.context import running
from taskq.exceptions import MaxRetriesExceededError, Retry
from taskq.producer import CallOptions, SendOptions
from taskq.request import Request
from taskq.retrying import retry_message

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.failure import ExceptionInfo
    from taskq.result import AsyncResult, EagerResult

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")

_DIRECT = Request(None)


class TaskOptions(TypedDict, total=False):
    """Options of a task: keywords of the decorator, and attributes of the class.

    They are explained at the attributes of `Task`.
    """

    name: str
    base: type[Task[..., Any]]
    typing: bool
    max_retries: int | None
    default_retry_delay: float
    ignore_result: bool
    store_errors_even_if_ignored: bool
    serializer: str
    compression: str
    time_limit: float
    soft_time_limit: float
    track_started: bool
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool
    throws: tuple[type[BaseException], ...]
    expires: float
    priority: int
    queue: str
    exchange: str
    routing_key: str
    resultrepr_maxsize: int
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool


class Handlers(NamedTuple):
    """The handlers that a task's class overrides; None where it does not.

    What nobody has written is never called.
    """

    before_start: Callable[..., None] | None
    on_success: Callable[..., None] | None
    on_retry: Callable[..., None] | None
    on_failure: Callable[..., None] | None
    after_return: Callable[..., None] | None


class Task(Generic[P, R]):
    """A task.  `TaskQ.task` makes one of a function; a subclass with `run` is one too.

    Where an option is None, the setting of the same name (``task_…``) decides.

    Attributes:
        name: what messages call it by.
        typing: check the arguments against the signature when it is called.
        max_retries: how often `retry` may send it again; None for ever.
        default_retry_delay: seconds before a retry that names no other time.
        ignore_result: keep no result.
        store_errors_even_if_ignored: keep failures all the same.
        serializer: how its arguments are encoded.
        compression: how its body is compressed.
        time_limit: seconds until its process is killed.
        soft_time_limit: seconds until `SoftTimeLimitExceeded` is raised in it.
        track_started: store the state STARTED when it starts.
        acks_late: acknowledge after it ended and its outcome is stored; otherwise just
            before it starts, and then a crash loses it.
        acks_on_failure: a failure is acknowledged; otherwise it is a dead letter.
        acks_on_timeout: a hard time limit is acknowledged; otherwise it runs again.
        reject_on_worker_lost: run again when its process died; otherwise it failed.
        throws: exceptions that are no surprise, logged without a traceback.
        expires: seconds after which it is dropped if it has not started.
        priority: 0 to 9, 9 first.
        queue: the queue, by name.
        exchange: the exchange, by name.
        routing_key: what the exchange's bindings are matched against.
        resultrepr_maxsize: how much of the result a log line shows, in characters.
        autoretry_for: exceptions that make it retry by itself.
        dont_autoretry_for: exceptions among those that do not.
        retry_kwargs: arguments of those retries, such as ``max_retries``.
        retry_backoff: double the delay at each retry, from this number of seconds.
        retry_backoff_max: the longest of those delays, in seconds.
        retry_jitter: choose each delay at random between 0 and its value.
    """

    name: str = ""
    app: TaskQ
    typing: bool = True
    max_retries: int | None = 3
    default_retry_delay: float = 180
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    throws: tuple[type[BaseException], ...] = ()
    expires: float | None = None
    priority: int | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    resultrepr_maxsize: int = 1024
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True

    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError
    handlers: Handlers
    _signature: inspect.Signature
    _positional: tuple[int, int] | None

    # Registration

    def bind(self, app: TaskQ) -> None:
        """Make this instance the app's task; called once, by the app."""
        self.app = app
        self.__wrapped__ = self.run
        self._signature = inspect.signature(self.run)
        self._positional = _positional_arity(self._signature)
        self.handlers = Handlers(*map(self._overridden, Handlers._fields))
        self.on_bound(app)

    @property
    def is_bound(self) -> bool:
        """Has an app taken it in?"""
        return "app" in vars(self)

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there: above all, the app of a task that has none."""
        hint = ": no app has taken it in yet, make one with TaskQ(...)" if name == "app" else ""
        raise AttributeError(f"task {self.name!r} has no attribute {name!r}{hint}")

    def _overridden(self, name: str) -> Callable[..., None] | None:
        own = name in vars(self) or getattr(type(self), name) is not getattr(Task, name)
        return getattr(self, name) if own else None

    @classmethod
    def on_bound(cls, app: TaskQ) -> None:
        """Called when the app takes the task in."""

    # The call, here

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; a class-based task overrides it."""
        raise NotImplementedError(f"task {self.name!r} must define a method run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, in this process."""
        return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # R by construction

    @property
    def request(self) -> Request:
        """The execution of this task that is going on in this thread or coroutine.

        A task that another one calls as a function has none: it cannot be retried alone.
        """
        request = running.get()
        return request if request is not None and request.task == self.name else _DIRECT

    # The call, elsewhere

    @overload
    def delay(
        self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncResult[T]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[Any]:
        """Send it to a worker.

        Raises:
            TypeError: the arguments do not fit the function.
            EncodeError: an argument cannot be encoded.
            OperationalError: the broker cannot be reached.
        """
        return self._send(args, kwargs, {})

    @overload
    async def adelay(
        self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncResult[T]: ...
    @overload
    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...
    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[Any]:
        """`delay` for code on an event loop."""
        return await self._asend(args, kwargs, {})

    @overload
    def apply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[T]: ...
    @overload
    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]: ...
    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """Send it to a worker, with options; see `CallOptions`, and `delay` for the errors."""
        return self._send(tuple(args or ()), dict(kwargs or {}), options)

    @overload
    async def aapply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[T]: ...
    @overload
    async def aapply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]: ...
    async def aapply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        return await self._asend(tuple(args or ()), dict(kwargs or {}), options)

    def _send(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncResult[Any]:
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        return self.app.send_task(self.name, args, kwargs, **options)

    async def _asend(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncResult[Any]:
        if self.app.conf.task_always_eager:
            # asyncio is imported by those who use it: it doubles the time to import taskq.
            import asyncio

            return await asyncio.to_thread(self.apply, args, kwargs, **options)
        return await self.app.asend_task(self.name, args, kwargs, **options)

    def takes_several(self) -> bool:
        """Can it be called with more than one positional argument?"""
        return self._positional is not None and self._positional[1] > 1

    def check_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError if the function cannot be called like this."""
        limits = self._positional
        if limits is not None and not kwargs and limits[0] <= len(args) <= limits[1]:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(
                f"{self.name}{self._signature} cannot be called with these arguments: {exc}"
            ) from None

    @overload
    def apply(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> EagerResult[T]: ...
    @overload
    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> EagerResult[R]: ...
    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> EagerResult[Any]:
        """Run it here and now, retries, handlers and what follows it included.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            throw: raise what it raises; the setting ``task_eager_propagates`` by default.
            options: as for `apply_async`; times are not waited for.
        """
        return self.app.run_eagerly(self, tuple(args or ()), dict(kwargs or {}), throw, options)

    def routing_options(self) -> dict[str, Any]:
        """What the task's own attributes say about its route."""
        values = (
            ("queue", self.queue),
            ("exchange", self.exchange),
            ("routing_key", self.routing_key),
            ("priority", self.priority),
        )
        return {key: value for key, value in values if value is not None}

    # Signatures

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature of this task."""
        return Signature(self, args, kwargs, app=self.app)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature that takes no arguments from the step before it."""
        return Signature(self, args, kwargs, immutable=True, app=self.app)

    def signature(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        immutable: bool = False,
        **options: Unpack[CallOptions],
    ) -> Signature:
        """A signature with options of the call."""
        return Signature(self, args, kwargs, options, immutable=immutable, app=self.app)

    subtask = signature

    # Inside a running task

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
            self,
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

    def AsyncResult(self, task_id: str) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """The result of a task of this kind, by id."""
        return self.app.AsyncResult(task_id, task_name=self.name)

    # Handlers, for subclasses

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

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its name: whoever unpickles it has the app."""
        return (_task_by_name, (self.name,))


def _task_by_name(name: str) -> Task[..., Any]:
    from taskq.context import get_current_app

    return get_current_app().tasks[name]


def _positional_arity(signature: inspect.Signature) -> tuple[int, int] | None:
    """How few and how many positional arguments fit, if those alone can be enough."""
    parameters = signature.parameters.values()
    kinds = inspect.Parameter
    if any(p.kind is kinds.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return None
    plain = [
        p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    many = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is p.empty for p in plain)
    return least, (1 << 30) if many else len(plain)
