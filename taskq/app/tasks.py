"""The tasks of an app: making them of functions, naming them, finding their modules."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from taskq import context, discovery, signals
from taskq.exceptions import AlreadyRegistered, ImproperlyConfigured
from taskq.registry import TaskRegistry
from taskq.serialization import SerializerRegistry
from taskq.settings import Settings
from taskq.task import Task, TaskOptions
from taskq.task.annotations import annotate

if TYPE_CHECKING:
    from taskq.app.app import TaskQ

P = ParamSpec("P")
R = TypeVar("R")
AnyTask = Task[..., Any]


class TaskMaker:
    """The half of an app that makes and keeps tasks.

    Args:
        main: the name of the program, which tasks of ``__main__`` are named after.
        conf: the app's settings.
        task_cls: the base class of tasks.

    Attributes:
        packages: the packages of the project, where something knows them: Django does.
    """

    def __init__(
        self, main: str | None, conf: Settings, task_cls: type[AnyTask] | None = None
    ) -> None:
        self.main = main
        self.conf = conf
        self.tasks = TaskRegistry()
        self.serializers = SerializerRegistry()
        self.on_after_finalize = signals.Signal("on_after_finalize")
        self._task_cls = task_cls
        self._lock = threading.RLock()
        self._discovered: list[Callable[[], None]] = []
        self.packages: Callable[[], Iterable[str]] = _no_packages
        self._finalized = False

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, bind: Literal[True], **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def task(
        self, /, *, bind: Literal[False] = False, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(
        self, function: Any = None, /, *, bind: bool = False, **options: Unpack[TaskOptions]
    ) -> Any:
        """Make a task of a function.

        Args:
            function: the function, plain or ``async``.
            bind: give the task itself to the function, as its first argument.
            options: see `TaskOptions`.

        Raises:
            AlreadyRegistered: another function has that name.
        """
        if function is not None:
            return self._make_task(function, bind, dict(options))
        return lambda decorated: self._make_task(decorated, bind, dict(options))

    def _make_task(
        self, function: Callable[..., Any], bind: bool, options: dict[str, Any]
    ) -> AnyTask:
        shared = options.pop("shared", False)
        given = {"bind": bind, **options}
        base = options.pop("base", None) or self._task_cls or Task
        unknown = [name for name in options if not hasattr(Task, name)]
        if unknown and base is Task:
            raise TypeError(
                f"task {function.__name__!r} has unknown options {unknown}: "
                f"see taskq.task.TaskOptions for those that exist"
            )
        options.setdefault("name", self.gen_task_name(function.__name__, function.__module__))
        task = self.register_task(make_task(function, bind, options, base))
        if shared:
            context.add_shared_task(function, {**given, "name": task.name}, task)
        return task

    def register_task(self, task: AnyTask | type[AnyTask]) -> AnyTask:
        """Take in a class-based task, or an instance of one.

        Raises:
            AlreadyRegistered: another task has that name.
        """
        instance: AnyTask = task() if isinstance(task, type) else task
        if not instance.name:
            kind = type(instance)
            instance.name = self.gen_task_name(kind.__name__, kind.__module__)
        with self._lock:
            known = self.tasks.get(instance.name)
            if known is not None and not _same_source(known, instance):
                raise AlreadyRegistered(
                    f"two tasks are named {instance.name!r}, in {_place(known)} and in "
                    f"{_place(instance)}: give one of them another name="
                )
            annotate(instance, self.conf.task_annotations)
            instance.bind(cast("TaskQ", self))
            self.serializers.register_annotations(instance.run)
            self.tasks[instance.name] = instance
        return instance

    def adopt(
        self, function: Callable[..., Any], options: dict[str, Any], task: AnyTask | None = None
    ) -> AnyTask:
        """Make a task of a function that was given to `shared_task`.

        Args:
            function: the function.
            options: the task's options.
            task: what `shared_task` has made of it; taken in if no other app has done so.
        """
        if task is not None and not task.is_bound:
            return self.register_task(task)
        own = dict(options)
        return self._make_task(function, own.pop("bind", False), own)

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that is given none: its module and its function."""
        if module == "__main__":
            module = self.main or _main_module_name()
        return f"{module}.{name}"

    @cached_property
    def Task(self) -> type[AnyTask]:  # noqa: N802 - Celery's name
        """A base for class-based tasks of this app."""
        bases, attributes = (self._task_cls or Task,), {"__module__": __name__}
        return cast("type[AnyTask]", type("Task", bases, attributes))

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import ``<package>.tasks`` of each package, when a worker starts.

        Args:
            packages: package names, or a function that gives them; in a Django project, its
                installed apps by default.
            related_name: the module to look for; None imports the packages themselves.
            force: import now.
        """

        def discover() -> None:
            names = self.packages if packages is None else packages
            discovery.import_related(names() if callable(names) else names, related_name)

        if force:
            discover()
        else:
            self._discovered.append(discover)

    def load_modules(self) -> None:
        """Import all modules that hold tasks; called by workers and commands, once.

        Raises:
            ImproperlyConfigured: one of them does not exist.
        """
        with self._lock:
            if self._finalized:
                return
            self._finalized = True
        try:
            discovery.import_modules([*self.conf.imports, *self.conf.include])
            for discover in self._discovered:
                discover()
            self._tell_configured()
        except BaseException:
            self._finalized = False  # who tries again is told again
            raise
        signals.import_modules.send(self)
        self.on_after_finalize.send(self)

    finalize = load_modules

    def _tell_configured(self) -> None:
        """For the other half: the modules are there."""


def _no_packages() -> Iterable[str]:
    raise ImproperlyConfigured(
        "autodiscover_tasks() must be told the packages to look in, such as ['proj.orders']; only "
        "in a Django project it knows them"
    )


def make_task(
    function: Callable[..., Any], bind: bool, options: dict[str, Any], base: type[AnyTask]
) -> AnyTask:
    """A task that is no app's yet.

    Args:
        function: what it runs.
        bind: give the task to the function, as its first argument.
        options: its attributes.
        base: its class.
    """
    attributes = {
        "name": f"{function.__module__}.{function.__name__}",
        "run": function if bind else staticmethod(function),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        **options,
    }
    kind = cast("type[AnyTask]", type(function.__name__, (base,), attributes))
    return kind()


def _same_source(one: AnyTask, other: AnyTask) -> bool:
    """Is it the same function or class again, from a module that was imported twice?"""
    return _place(one) == _place(other)


def _place(task: AnyTask) -> str:
    code = getattr(task.run, "__code__", None)
    where = code and f"{code.co_filename}:{code.co_firstlineno}"
    return where or f"{type(task).__module__}.{type(task).__qualname__}"


def _main_module_name() -> str:
    file = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file else "__main__"
