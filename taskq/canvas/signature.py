"""Signatures: a call that has not been made yet, as a value that can be passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from taskq import context
from taskq.canvas import stamping
from taskq.canvas.call_data import CallData, as_list, kind_of
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.canvas.stamping import StampingVisitor
    from taskq.result import AsyncResult, EagerResult

_FIXED = frozenset({"group_id", "stamped_headers"})
"""Options that a call does not replace: who counts on them would wait for ever."""


class Signature(CallData):
    """One call of a task: its name, arguments and options.

    It is a dict of plain data in Celery's form, and so travels in messages as it is.

    Args:
        task: the task's name, a task, or the dict form of a signature.
        args: positional arguments; with a partial signature, those of the call come first.
        kwargs: keyword arguments.
        options: options of `Task.apply_async`.
        immutable: ignore the arguments that a previous step would add.
        app: the app that sends it; the current one by default.
        more: further options of `Task.apply_async`.
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
        **more: Any,
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
                options={**(options or {}), **more},
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
    def register_type(cls, name: str | None = None) -> Callable[[type[Signature]], type[Signature]]:
        """A class decorator: signatures of this kind come back from messages as that class.

        Args:
            name: its name in messages; the class's by default.
        """

        def register(subclass: type[Signature]) -> type[Signature]:
            subclass.subtask_type = name or subclass.__name__
            cls._kinds[subclass.subtask_type] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], app: TaskQ | None = None) -> Signature:
        """The signature in a message or a file, as the class that it was; TypeError if none."""
        return cls._kinds.get(kind_of(document), Signature)(document, app=app)

    # What it is

    @property
    def app(self) -> TaskQ:
        """The app that sends it."""
        return self._app or context.get_current_app()

    @property
    def type(self) -> Any:
        """The task itself.

        Raises:
            NotRegistered: this process does not know it.
        """
        return self.app.tasks[self.task]

    # Copies and changes

    def merge(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Arguments and options of a call: what is given now comes first, or wins.

        Stamps, and the place in a group, stay as they are.
        """
        own: dict[str, Any] = self["options"]
        merged = dict(own)
        if options:
            fixed = _FIXED
            if "stamped_headers" in own:
                fixed = fixed.union(own["stamped_headers"] or ())
            merged.update((k, v) for k, v in options.items() if k not in fixed or k not in own)
        if self.immutable:
            return self.args, dict(self["kwargs"]), merged
        return (*(args or ()), *self["args"]), {**self["kwargs"], **(kwargs or {})}, merged

    def clone(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """A copy, with arguments and options added."""
        copy = type(self)(self, app=self._app)
        copy["args"], copy["kwargs"], copy["options"] = self.merge(args, kwargs, options)
        return copy

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """A copy with other arguments or options in place of its own."""
        copy = self.clone()
        if args is not None:
            copy["args"] = tuple(args)
        if kwargs is not None:
            copy["kwargs"] = dict(kwargs)
        if options is not None:
            copy["options"] = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Set options of the call, in place."""
        if immutable is not None:
            self.set_immutable(immutable)
        self["options"] = {**self["options"], **options}
        return self

    def set_immutable(self, immutable: bool) -> Self:
        """Ignore, or take, the arguments of a previous step."""
        self["immutable"] = immutable
        return self

    def frozen(self, make_id: Callable[[], str] = new_id) -> Signature:
        """A copy with an id, under which it will be sent.

        Args:
            make_id: makes the ids of those that have none.
        """
        return self.clone(task_id=self.id or make_id())

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give it an id, in place, and return the result that it will have under that.

        Args:
            _id: the id; a new one by default, and the one that it has stays.
            group_id: the group that it is in.
            chord: the chord's body.
            root_id: the first task of the workflow.
            parent_id: the task that sends it.
            group_index: its place in the group.
        """
        given = {
            "group_id": group_id,
            "chord": chord,
            "root_id": root_id,
            "parent_id": parent_id,
            "group_index": group_index,
        }
        options = {key: value for key, value in given.items() if value is not None}
        if _id and not self.id:
            options["task_id"] = _id
        self.update(self.clone(**options).frozen())
        return self.result()

    _freeze = freeze

    def result(self, parent: Any = None) -> Any:
        """The result that a frozen signature will have."""
        return self.app.AsyncResult(str(self.id), self.task, parent)

    # What follows

    def link(self, callback: Signature) -> Any:
        """Send `callback` with the result when this succeeds; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Signature) -> Any:
        """Send `errback` when this fails; returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Signature) -> Self:
        """`link_error` that returns this signature, for writing in one expression."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add to an option that is a list, unless it is there; returns the value."""
        known = as_list(self["options"].get(key))
        if value not in known:
            self["options"] = {**self["options"], key: [*known, value]}
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add one or several to an option that is a list."""
        known = as_list(self["options"].get(key))
        self["options"] = {**self["options"], key: [*known, *as_list(value)]}

    def linked(self, option: str) -> list[Signature]:
        """Its callbacks or errbacks: the option ``link`` or ``link_error``."""
        found = as_list(self["options"].get(option))
        return [s if isinstance(s, Signature) else Signature.from_dict(s, self._app) for s in found]

    def flatten_links(self) -> list[Signature]:
        """This signature, its callbacks, theirs, and so on."""
        found: list[Signature] = []
        pending: list[Signature] = [self]
        while pending:
            found.append(pending.pop())
            pending += reversed(found[-1].linked("link"))
        return found

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Signature:
        """Put headers of one's own on it and on all that belongs to it.

        Args:
            visitor: says which, for each part.
            append_stamps: keep several values of one name in a list; otherwise the last
                one counts.
            headers: the same ones for all.
        """
        stamping.stamp(self, visitor, append_stamps, headers)
        return self

    def stamp_links(
        self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """`stamp` for its callbacks and errbacks alone."""
        stamping.stamp_links(self, visitor, append_stamps, headers)

    # The call

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send it, with arguments added."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send it, with arguments and options added."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        merged_args, merged_kwargs, merged = self.merge(args, kwargs, options)
        return self.app.send_task(self.task, merged_args, merged_kwargs, **merged)

    async def aapply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
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
        self,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> AsyncResult[Any]:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        return await asyncio.to_thread(self.apply, args, kwargs, **options)

    def apply(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[Any]:
        """Run it here and now; see `Task.apply`."""
        merged_args, merged_kwargs, merged = self.merge(args, kwargs, options)
        result: EagerResult[Any] = self.type.apply(merged_args, merged_kwargs, **merged)
        return result

    # A dict's | merges; a signature's makes a chain, as everybody expects who knows Celery's.
    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        if not isinstance(other, Signature):
            return NotImplemented
        return self._kinds["chain"](self, other, app=self._app)

    def __ior__(self, other: Signature) -> Signature:  # type: ignore[override]
        return self.__or__(other)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, here and now, with arguments added."""
        merged_args, merged_kwargs, _ = self.merge(args, kwargs)
        return self.type(*merged_args, **merged_kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plain data: whoever unpickles it has an app."""
        return (Signature.from_dict, (dict(self),))

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature:
        """A copy of the data; the app stays the same one."""
        # copy is seldom needed.
        from copy import deepcopy

        return Signature.from_dict({k: deepcopy(v, memo) for k, v in self.items()}, self._app)

    def __repr__(self) -> str:
        args = [repr(arg) for arg in self["args"]]
        args += [f"{key}={value!r}" for key, value in self["kwargs"].items()]
        return f"{self['task']}({', '.join(args)})"


def signature(task: Any, *args: Any, **kwargs: Any) -> Signature:
    """A signature of a task, a name, or the dict form of one; see `Signature`."""
    if isinstance(task, Signature):
        return task.clone()
    if isinstance(task, dict):
        return Signature.from_dict(task, kwargs.get("app"))
    return Signature(task, *args, **kwargs)


def maybe_signature(value: Any, app: TaskQ | None = None, clone: bool = False) -> Signature | None:
    """The signature in its dict form, a signature as it is, and None for None.

    Args:
        value: what may be a signature.
        app: the app of one that has none.
        clone: return a copy.
    """
    if value is None:
        return None
    if not isinstance(value, Signature):
        return Signature.from_dict(value, app)
    found = value.clone() if clone else value
    found._app = found._app or app
    return found
