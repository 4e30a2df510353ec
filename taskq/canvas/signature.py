"""Signatures: a call that has not been made yet, as a value that can be passed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from taskq import context
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import AsyncResult, EagerResult


class Signature(dict[str, Any]):
    """One call of a task: its name, arguments and options.

    It is a dict of plain data in Celery's form, and so travels in messages as it is.

    Args:
        task: the task's name, a task, or the dict form of a signature.
        args: positional arguments; with a partial signature, those of the call come first.
        kwargs: keyword arguments.
        options: options of `Task.apply_async`.
        immutable: ignore the arguments that a previous step would add.
        app: the app that sends it; the current one by default.
    """

    _app: TaskQ | None
    _kinds: ClassVar[dict[str, type[Signature]]] = {}
    subtask_type: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        """Each kind of signature is found by the name that it has in messages."""
        if cls.subtask_type:
            Signature._kinds[cls.subtask_type] = cls

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        app: TaskQ | None = None,
    ) -> None:
        if isinstance(task, dict):
            super().__init__(task)
            self["args"] = tuple(self.get("args") or ())
            self["kwargs"] = dict(self.get("kwargs") or {})
            self["options"] = dict(self.get("options") or {})
        else:
            super().__init__(
                task=task if isinstance(task, str) else task.name,
                args=tuple(args or ()),
                kwargs=dict(kwargs or {}),
                options=dict(options or {}),
                subtask_type=self.subtask_type,
                immutable=immutable,
            )
            app = app or getattr(task, "app", None)
        self._app = app

    @staticmethod
    def kind(name: str) -> type[Signature]:
        """The class of signatures of that kind: "chain", "group", "chord"."""
        return Signature._kinds[name]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], app: TaskQ | None = None) -> Signature:
        """The signature in a message or a file, as the class that it was."""
        kind = cls._kinds.get(document.get("subtask_type") or "", Signature)
        return kind(document, app=app)

    @property
    def app(self) -> TaskQ:
        """The app that sends it."""
        return self._app or context.get_current_app()

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self["task"])

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return tuple(self["args"])

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return dict(self["kwargs"])

    @property
    def options(self) -> dict[str, Any]:
        """Options of the call."""
        return dict(self["options"])

    @property
    def immutable(self) -> bool:
        """Whether arguments of a previous step are ignored."""
        return bool(self.get("immutable"))

    @property
    def id(self) -> str | None:
        """The task id that it will be sent under, once frozen."""
        task_id: str | None = self["options"].get("task_id")
        return task_id

    def merge(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Arguments and options of a call: what is given now comes first, or wins."""
        merged = {**self["options"], **(options or {})}
        if self.immutable:
            return self.args, self.kwargs, merged
        return (*args, *self["args"]), {**self["kwargs"], **(kwargs or {})}, merged

    def clone(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """A copy, with arguments and options added."""
        copy = type(self)(self, app=self._app)
        copy["args"], copy["kwargs"], copy["options"] = self.merge(args, kwargs, options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Set options of the call, in place."""
        if immutable is not None:
            self["immutable"] = immutable
        self["options"] = {**self["options"], **options}
        return self

    def set_immutable(self, immutable: bool) -> Self:
        """Ignore, or take, the arguments of a previous step."""
        self["immutable"] = immutable
        return self

    def frozen(self) -> Signature:
        """A copy with an id, under which it will be sent."""
        return self.clone(task_id=self.id or new_id())

    def result(self, parent: Any = None) -> Any:
        """The result that a frozen signature will have."""
        return self.app.AsyncResult(str(self.id), self.task, parent)

    def plan(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[list[Signature], Any]:
        """The calls of tasks that it is sent as, and the result that they lead to.

        Args:
            args: positional arguments, added.
            kwargs: keyword arguments, added.
            options: options of the call.
        """
        call = self.clone(args, kwargs, **(options or {})).frozen()
        return [call], call.result()

    def link(self, callback: Signature) -> Signature:
        """Send `callback` with the result when this succeeds; returns the callback."""
        return self._append("link", callback)

    def link_error(self, errback: Signature) -> Signature:
        """Send `errback` when this fails; returns the errback."""
        return self._append("link_error", errback)

    def on_error(self, errback: Signature) -> Self:
        """`link_error` that returns this signature, for writing in one expression."""
        self.link_error(errback)
        return self

    def _append(self, option: str, signature: Signature) -> Signature:
        known = as_list(self["options"].get(option))
        if signature not in known:
            self["options"] = {**self["options"], option: [*known, signature]}
        return signature

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send it, with arguments added."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send it, with arguments and options added."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        merged_args, merged_kwargs, merged = self.merge(args, kwargs, options)
        return self.app.send_task(self.task, merged_args, merged_kwargs, **merged)

    async def aapply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            return await self._apply_in_thread(args, kwargs, options)
        merged_args, merged_kwargs, merged = self.merge(args, kwargs, options)
        return await self.app.asend_task(self.task, merged_args, merged_kwargs, **merged)

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``, and a task that is known?"""
        app = self.app
        return app.conf.task_always_eager and self.task in app.tasks

    async def _apply_in_thread(
        self, args: Iterable[Any], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> AsyncResult[Any]:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        return await asyncio.to_thread(self.apply, args, kwargs, **options)

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Run it here and now; see `Task.apply`."""
        merged_args, merged_kwargs, merged = self.merge(args, kwargs, options)
        return self.app.tasks[self.task].apply(merged_args, merged_kwargs, **merged)

    # A dict's | merges; a signature's makes a chain, as everybody expects who knows Celery's.
    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        return self._kinds["chain"](self, other, app=self._app)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, here and now, with arguments added."""
        merged_args, merged_kwargs, _ = self.merge(args, kwargs)
        return self.app.tasks[self.task](*merged_args, **merged_kwargs)

    def __repr__(self) -> str:
        args = [repr(arg) for arg in self["args"]]
        args += [f"{key}={value!r}" for key, value in self["kwargs"].items()]
        return f"{self['task']}({', '.join(args)})"


def signature(task: Any, *args: Any, **kwargs: Any) -> Signature:
    """A signature of a task, a name, or the dict form of one; see `Signature`."""
    if isinstance(task, dict):
        return Signature.from_dict(task, kwargs.get("app"))
    return Signature(task, *args, **kwargs)


def maybe_signature(value: Any, app: TaskQ | None = None) -> Signature | None:
    """The signature in its dict form, a signature as it is, and None for None."""
    if value is None or isinstance(value, Signature):
        return value
    return Signature.from_dict(value, app)


def as_list(signatures: Any) -> list[Any]:
    """The `link` and `link_error` options take one signature or several."""
    if signatures is None:
        return []
    return list(signatures) if isinstance(signatures, list | tuple) else [signatures]
