"""The task: a function with a name, options, and ways to call it elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    Unpack,
    overload,
)

from taskq.canvas.maps import chunks, xmap, xstarmap
from taskq.canvas.signature import Signature
from taskq.producer import CallOptions
from taskq.task.arguments import positional_arity
from taskq.task.committing import AfterCommit
from taskq.task.handlers import Handlers, TaskHandlers
from taskq.task.limits import check_limits
from taskq.task.rates import parse_rate
from taskq.task.running import RunningTask

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Backend
    from taskq.result import AsyncResult, EagerResult
    from taskq.task.models import ModelCalls

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class Task(RunningTask, TaskHandlers, AfterCommit[P], Generic[P, R]):
    """A task.  `TaskQ.task` makes one of a function; a subclass with `run` is one too.

    Attributes:
        handlers: those handlers that its class overrides.
        models: turns pydantic models into plain data and back, with ``pydantic=True``.
    """

    handlers: Handlers
    models: ModelCalls | None = None
    _signature: inspect.Signature
    _positional: tuple[int, int] | None

    # Registration

    def bind(self, app: TaskQ) -> None:
        """Make this instance the app's task; called once, by the app."""
        self.app = app
        self.__wrapped__ = self.run
        self._signature = inspect.signature(self.run)
        self._positional = positional_arity(self._signature)
        if self.pydantic:
            # pydantic is loaded by those who use it.
            from taskq.task.models import ModelCalls

            self.models = ModelCalls(self, app)
            self.run = self.models.wrap(self.run)  # type: ignore[method-assign]
        self.handlers = self.overridden_handlers()
        parse_rate(self.rate_limit)
        check_limits(self.time_limit, self.soft_time_limit)
        self.on_bound(app)

    @property
    def is_bound(self) -> bool:
        """Has an app taken it in?"""
        return "app" in vars(self)

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there: above all, the app of a task that has none."""
        hint = ": no app has taken it in yet, make one with TaskQ(...)" if name == "app" else ""
        raise AttributeError(f"task {self.name!r} has no attribute {name!r}{hint}")

    # The call, here

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; a class-based task overrides it."""
        raise NotImplementedError(f"task {self.name!r} must define a method run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, in this process."""
        return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # R by construction

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
            return await self.app.eager.aside(self.apply, args, kwargs, **options)
        return await self.app.asend_task(self.name, args, kwargs, **options)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters of its function, in their order."""
        return list(self._signature.parameters.values())

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

    def map(self, it: Iterable[Any]) -> xmap:
        """A call of this task for each of many arguments, in one message."""
        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Iterable[Any]]) -> xstarmap:
        """A call of this task for each of many lists of arguments, in one message."""
        return xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Iterable[Any]], n: int) -> chunks:
        """A call of this task for each of many lists of arguments, `n` of them in a message."""
        return chunks(self.s(), it, n, app=self.app)

    @property
    def backend(self) -> Backend:
        """The result store."""
        return self.app.backend

    def AsyncResult(self, task_id: str) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """The result of a task of this kind, by id."""
        return self.app.AsyncResult(task_id, task_name=self.name)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its name: whoever unpickles it has the app."""
        return (_task_by_name, (self.name,))


def _task_by_name(name: str) -> Task[..., Any]:
    from taskq.context import get_current_app

    return get_current_app().tasks[name]
