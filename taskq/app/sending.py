"""The half of an app that sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack, cast

from taskq import context
from taskq.app.tasks import TaskMaker
from taskq.backends.registry import sends_results
from taskq.canvas import Signature
from taskq.canvas.call_data import as_list
from taskq.canvas.fitting import check_steps_fit
from taskq.canvas.plan import make_plan
from taskq.chord_records import record_of
from taskq.message import TaskMessage
from taskq.middleware import Middleware, MiddlewareStack
from taskq.producer import CallOptions, Producer
from taskq.result import AsyncResult
from taskq.routing import Router

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.brokers.base import Broker
    from taskq.canvas.plan import Plan, PlannedChord
    from taskq.events import Events

AnyResult = AsyncResult[Any]
_Called = tuple[Signature, tuple[Any, ...], Mapping[str, Any] | None, CallOptions]


class _Sending:
    """What several calls are sent as, and the results that they lead to."""

    def __init__(self) -> None:
        self.messages: list[TaskMessage] = []
        self.chords: list[tuple[PlannedChord, str | None]] = []
        self.begun: list[Any] = []
        self.results: list[Any] = []


class Sender(TaskMaker):
    """The half of an app that sends tasks; see `TaskQ`."""

    if TYPE_CHECKING:
        strict_typing: bool

        @cached_property
        def broker(self) -> Broker:
            """The broker."""
            raise NotImplementedError

        @cached_property
        def backend(self) -> Backend:
            """The result store."""
            raise NotImplementedError

        @cached_property
        def events(self) -> Events:
            """Tells events and listens to them."""
            raise NotImplementedError

        def AsyncResult(  # noqa: N802 - Celery's name
            self, task_id: str, task_name: str | None = None, parent: Any = None
        ) -> AnyResult:
            """The result of a task, by id."""
            raise NotImplementedError

    @cached_property
    def router(self) -> Router:
        """Decides which queue a call goes to."""
        return Router.from_settings(self.conf)

    @cached_property
    def producer(self) -> Producer:
        """Builds and publishes messages."""
        replies = (lambda: self.backend) if sends_results(self.conf) else None
        return Producer(
            self.conf,
            self.serializers,
            self.router,
            lambda: self.broker,
            lambda: self.events.dispatcher,
            self.middleware,
            replies,
        )

    def add_middleware(self, middleware: Middleware) -> None:
        """Put code of one's own around sending and running, within what was added before.

        Args:
            middleware: it; see `taskq.Middleware`.
        """
        self.middleware.add(middleware)

    @cached_property
    def middleware(self) -> MiddlewareStack:
        """What was added with `add_middleware`."""
        return MiddlewareStack()

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AnyResult:
        """Send a task by name; this process need not know it.

        Raises:
            TypeError: the task is known, and cannot be called like this.
            EncodeError: an argument cannot be encoded.
            OperationalError: the broker cannot be reached.
        """
        message = self._message(name, tuple(args or ()), dict(kwargs or {}), options)
        self.producer.publish([message], options.get("retry"), options.get("retry_policy"))
        return self._sent(message, options)

    async def asend_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AnyResult:
        """`send_task` for code on an event loop."""
        message = self._message(name, tuple(args or ()), dict(kwargs or {}), options)
        await self.producer.apublish([message], options.get("retry"), options.get("retry_policy"))
        return self._sent(message, options)

    def send_many(
        self, signatures: Iterable[Signature], **options: Unpack[CallOptions]
    ) -> list[AnyResult]:
        """Send many tasks in one round trip.

        Args:
            signatures: the calls, of whatever tasks; chains, groups and chords are welcome.
            options: added to each of them.

        Raises:
            OperationalError: the broker cannot be reached; nothing was sent.
        """
        if self.conf.task_always_eager:
            return [signature.apply_async(**options) for signature in signatures]
        sending = self._prepared([(s, (), None, options) for s in signatures])
        self._keep_chords(sending)
        self.producer.publish(sending.messages, options.get("retry"), options.get("retry_policy"))
        return self._all_sent(sending, options)

    async def asend_many(
        self, signatures: Iterable[Signature], **options: Unpack[CallOptions]
    ) -> list[AnyResult]:
        """`send_many` for code on an event loop."""
        if self.conf.task_always_eager:
            return [await signature.aapply_async(**options) for signature in signatures]
        sending = self._prepared([(s, (), None, options) for s in signatures])
        await self._akeep_chords(sending)
        await self.producer.apublish(
            sending.messages, options.get("retry"), options.get("retry_policy")
        )
        return self._all_sent(sending, options)

    def send_canvas(
        self,
        signature: Signature,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a chain, a group or a chord in one round trip.

        Args:
            signature: it.
            args: positional arguments for what begins.
            kwargs: keyword arguments, likewise.
            options: options of the call.

        Raises:
            ValueError: there is a chain without tasks, or a chord without a body.
            ImproperlyConfigured: the result store cannot count the members of a chord.
            OperationalError: the broker or the store cannot be reached.
        """
        options = cast("CallOptions", options or {})
        sending = self._prepared([(signature, tuple(args or ()), kwargs, options)])
        self._keep_chords(sending)
        self.producer.publish(sending.messages, options.get("retry"), options.get("retry_policy"))
        return self._all_sent(sending, options)[0]

    async def asend_canvas(
        self,
        signature: Signature,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """`send_canvas` for code on an event loop."""
        options = cast("CallOptions", options or {})
        sending = self._prepared([(signature, tuple(args or ()), kwargs, options)])
        await self._akeep_chords(sending)
        await self.producer.apublish(
            sending.messages, options.get("retry"), options.get("retry_policy")
        )
        return self._all_sent(sending, options)[0]

    def commits_with(self, using: str | None) -> bool:
        """Is what is sent now written in the transaction that a database of Django's is in?

        Args:
            using: the database's alias; None is the default one.
        """
        return False

    def messages_of(self, signature: Signature, options: CallOptions) -> list[TaskMessage]:
        """The messages that a call is sent as, for those who publish in a step of their own."""
        sending = self._prepared([(signature, (), None, options)])
        self._keep_chords(sending)
        return sending.messages

    def _prepared(self, calls: Iterable[_Called]) -> _Sending:
        sending = _Sending()
        for signature, args, kwargs, options in calls:
            plan = make_plan(signature, args, kwargs, options)
            if self.strict_typing:
                self._check_fit(plan)
            messages = [
                self._message(call.task, call.args, call.kwargs, call["options"])
                for call in plan.calls
            ]
            sending.messages += messages
            if plan.counts and not self.backend.counts:
                self.backend.keep_chords(())  # says why it cannot
            if plan.chords:
                root_id = messages[0].headers["root_id"] if messages else None
                sending.chords += [(chord, root_id) for chord in plan.chords]
            sending.begun.append(plan.begun)
            sending.results.append(plan.result)
        return sending

    def _check_fit(self, plan: Plan) -> None:
        """Raise TypeError if what follows something cannot be called with its result."""
        for call in plan.calls:
            if chain := call["options"].get("chain"):
                check_steps_fit(chain, self.tasks)
        for chord in plan.chords:
            check_steps_fit(chord.steps, self.tasks)

    def _keep_chords(self, sending: _Sending) -> None:
        if sending.chords:
            self.backend.keep_chords([record_of(self, *each) for each in sending.chords])

    async def _akeep_chords(self, sending: _Sending) -> None:
        if sending.chords:
            # asyncio is imported by those who use it: it doubles the time to import taskq.
            import asyncio

            await asyncio.to_thread(self._keep_chords, sending)

    def _all_sent(self, sending: _Sending, options: CallOptions) -> list[AnyResult]:
        request = context.running.get()
        if request is not None and request.trail and options.get("add_to_parent", True):
            request.children += sending.begun
        return sending.results

    def _message(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> TaskMessage:
        task = self.tasks.get(name)
        if task is not None:
            if self.strict_typing and task.typing:
                task.check_arguments(args, kwargs)
                if link := options.get("link"):
                    check_steps_fit(as_list(link), self.tasks)
            if not options.get("shadow") and (shadow := task.shadow_name(args, kwargs, options)):
                options = {**options, "shadow": shadow}
            if task.models is not None and options.get("serializer") != "pickle":
                args, kwargs = task.models.dump_arguments(args, kwargs)
        return self.producer.build(name, args, kwargs, options, task)

    def _sent(self, message: TaskMessage, options: CallOptions) -> AnyResult:
        result = self.AsyncResult(message.id, task_name=message.task)
        request = context.running.get()
        if request is not None and request.trail and options.get("add_to_parent", True):
            request.children.append(result)
        return result
