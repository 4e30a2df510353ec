"""The app: the object that a program makes, and everything of it is reached from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from taskq import context, signals
from taskq.app.configuring import Configured
from taskq.app.periodic import Periodic
from taskq.app.sending import AnyResult, Sender
from taskq.app.tasks import AnyTask, TaskMaker
from taskq.backends.registry import make_backend
from taskq.brokers.registry import make_broker
from taskq.builtin_tasks import builtin_tasks
from taskq.canvas import Signature
from taskq.control import Control
from taskq.control.clock import LamportClock
from taskq.eager import Eager, fail_eagerly, run_eagerly
from taskq.group_result import GroupResult
from taskq.middleware import Middleware
from taskq.producer import CallOptions, time_zone
from taskq.result import AsyncResult, EagerResult
from taskq.result_codec import ResultCodec
from taskq.result_set import ResultSet
from taskq.routing import Queue
from taskq.services import Services
from taskq.settings import Settings

T = TypeVar("T")

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.beat.service import Beat
    from taskq.brokers.base import Broker
    from taskq.events import Events
    from taskq.worker.service import Worker


class TaskQ(Configured, Sender, Periodic):
    """A task queue application.

    Args:
        main: the name of the program, which tasks of ``__main__`` are named after.
        broker: the broker's URL; the setting ``broker_url``.
        backend: the result store's URL; the setting ``result_backend``.
        include: modules that a worker imports, for the tasks in them.
        config_source: where to read settings from, as for `config_from_object`.
        set_as_current: make it the app that `shared_task` refers to.
        task_cls: the base class of tasks.
        namespace: prefix of the names in `config_source`.
        strict_typing: check arguments when tasks are called.
        middleware: code of one's own around sending and running, the outermost first.
        settings: settings by name; they win over every other source.

    Attributes:
        eager: how functions of tasks are called that run in the caller's process.

    Raises:
        ImproperlyConfigured: a setting is unknown, or of a wrong type.
    """

    def __init__(
        self,
        main: str | None = None,
        broker: str | None = None,
        backend: str | None = None,
        *,
        include: Sequence[str] = (),
        config_source: Any = None,
        set_as_current: bool = True,
        task_cls: type[AnyTask] | None = None,
        namespace: str | None = None,
        strict_typing: bool = True,
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        named = {"broker_url": broker, "result_backend": backend}
        conf = Settings({**settings, **{name: url for name, url in named.items() if url}})
        TaskMaker.__init__(self, main, conf, task_cls)
        Configured.__init__(self)
        Periodic.__init__(self)
        self.strict_typing = strict_typing
        self.eager = Eager()
        for each in middleware:
            self.add_middleware(each)
        self.services = Services()
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        self.on_after_fork = signals.Signal("on_after_fork")
        if include:
            self.conf.update(include=tuple(include))
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        elif module := os.environ.get("TASKQ_CONFIG_MODULE"):
            self.config_from_object(module, namespace=namespace)
        self.conf.load_environ(os.environ)
        if set_as_current:
            self.set_current()
        for function, options, task in context.shared_tasks():
            self.adopt(function, options, task)
        for builtin in builtin_tasks():
            self.register_task(builtin)
        self.on_init()

    def on_init(self) -> None:
        """For subclasses: called at the end of the constructor."""

    def signature(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        immutable: bool = False,
        **options: Any,
    ) -> Signature:
        """A signature of a task by name."""
        return Signature(name, args, kwargs, options, immutable=immutable, app=self)

    def run_eagerly(
        self,
        task: AnyTask,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        throw: bool | None,
        options: CallOptions,
    ) -> EagerResult[Any]:
        """Run a task here and now; see `Task.apply`."""
        return run_eagerly(self, task, args, kwargs, throw, options)

    def fail_eagerly(
        self, steps: Sequence[Signature], error: Exception, throw: bool | None
    ) -> EagerResult[Any]:
        """End steps here that cannot run, and tell their errbacks."""
        return fail_eagerly(self, steps, error, throw)

    # Broker and results

    @cached_property
    def broker(self) -> Broker:
        """The broker; connected when it is first used."""
        return make_broker(self.conf.broker_url, self.conf)

    @cached_property
    def backend(self) -> Backend:
        """The result store; connected when it is first used."""
        return make_backend(self.conf.result_backend or self.conf.broker_url, self.conf)

    @cached_property
    def result_codec(self) -> ResultCodec:
        """Reads and writes what the result store keeps."""
        accept = self.conf.result_accept_content
        names = {*(self.conf.accept_content if accept is None else accept)}
        return ResultCodec(
            self.serializers,
            self.conf.result_serializer,
            self.serializers.content_types([*names, self.conf.result_serializer]),
            self.conf.result_extended,
            self.conf.result_compression,
            self.conf.task_remote_tracebacks,
            self.conf.celery_interop,
        )

    @cached_property
    def clock(self) -> LamportClock:
        """Orders what this process tells and hears, for remote control and events."""
        return LamportClock()

    @cached_property
    def control(self) -> Control:
        """Steers workers and tasks."""
        return Control(self)

    @cached_property
    def events(self) -> Events:
        """Tells events and listens to them."""
        # Only those who use events load what that takes.
        from taskq.events import Events

        return Events(self)

    def AsyncResult(  # noqa: N802 - Celery's name
        self,
        task_id: str,
        task_name: str | None = None,
        parent: Any = None,
    ) -> AnyResult:
        """The result of a task, by id."""
        result: AnyResult = AsyncResult(
            task_id, lambda: self.backend, lambda: self.result_codec, task_name, parent
        )
        result._revoke = self.control.revoke
        return result

    def GroupResult(  # noqa: N802 - Celery's name
        self, group_id: str, results: Iterable[AnyResult], parent: Any = None
    ) -> GroupResult[Any]:
        """The results of a group."""
        return GroupResult(
            group_id, results, parent, lambda: self.backend, lambda: self.result_codec
        )

    def restore_group(self, group_id: str) -> Any:
        """The results of a group that `GroupResult.save` has kept; None if there are none."""
        return GroupResult.restore(group_id, app=self)

    def ResultSet(self, results: Iterable[AnyResult]) -> ResultSet[Any]:  # noqa: N802 - as above
        """Several results, waited for together."""
        return ResultSet(results, app=self)

    def result_chain(self, ids: Sequence[str]) -> AnyResult:
        """The last of these tasks' results, each the parent of the next."""
        result: AnyResult | None = None
        for task_id in ids:
            result = self.AsyncResult(task_id, parent=result)
        assert result is not None
        return result

    def store_state(self, task_id: str, state: str, meta: Any) -> None:
        """Store a state of a task's own; see `Task.update_state`."""
        request = context.running.get()
        own = request if request is not None and request.id == task_id else None
        if own is not None and own.is_eager and not self.conf.task_store_eager_result:
            return  # a program that runs its tasks here need not have a store
        outcome = self.result_codec.encode(task_id, state, meta)
        if own is not None:
            outcome.reply_to = own.reply_to
        self.backend.store([outcome])

    def use(self, broker: Broker, backend: Backend) -> None:
        """Talk to these, in place of those that the settings name."""
        self.__dict__["broker"], self.__dict__["backend"] = broker, backend

    def queues(self) -> list[Queue]:
        """The queues that are declared: ``task_queues``, or the default one."""
        return list(self.router.queues.values())

    # The rest

    def service(self, source: T) -> T:
        """Decorates what starts and stops with each worker of the app; see `Services.add`."""
        return self.services.add(source)

    def set_current(self) -> None:
        """Make it the app that `shared_task` and `current_app` refer to."""
        context.set_current_app(self)

    set_default = set_current

    @property
    def current_task(self) -> AnyTask | None:
        """The task that this thread or coroutine is running."""
        request = context.running.get()
        return self.tasks.get(request.task or "") if request is not None else None

    def now(self) -> datetime:
        """The time, in the time zone of the settings."""
        return datetime.now(time_zone(self.conf)).astimezone(time_zone(self.conf))

    def bugreport(self) -> str:
        """Software, platform and settings, without secrets; `taskq report` prints the same."""
        # importlib.metadata and platform are slow to import, and seldom needed.
        from taskq.bug_report import bugreport

        return bugreport(self.conf)

    # An app can start what stands above it, but must not load it before.

    def Worker(self, **options: Any) -> Worker:  # noqa: N802 - Celery's name
        """A worker of this app, to `run` in this process; see `taskq.worker.Worker`."""
        from taskq.worker.service import Worker

        return Worker(self, **options)

    def Beat(self, **options: Any) -> Beat:  # noqa: N802 - Celery's name
        """A beat of this app, to `run` in this process; see `taskq.beat.Beat`."""
        from taskq.beat.service import Beat

        return Beat(self, **options)

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line for this app, and end the process as it does.

        Args:
            argv: command and options, such as ``["worker", "-c", "2"]``; what this program
                was called with by default.
        """
        from taskq.cli.main import run

        run(argv, self)

    def worker_main(self, argv: Sequence[str] = ()) -> None:
        """Run ``taskq worker`` for this app, and end the process as it does."""
        self.start(["worker", *argv])

    def close(self) -> None:
        """Let go of connections."""
        for name in ("broker", "backend"):
            if (service := self.__dict__.pop(name, None)) is not None:
                service.close()

    def __enter__(self) -> TaskQ:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TaskQ {self.main or '?'} at {hex(id(self))}>"
