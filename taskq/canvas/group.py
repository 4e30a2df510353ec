"""Groups: tasks that run at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.chain import chain
from taskq.canvas.signature import Signature
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import EagerResult, GroupResult


class group(Signature):  # noqa: N801 - the field's name for it
    """Tasks that run at the same time, sent in one round trip.

    Args:
        tasks: signatures, chains and groups among them, or one iterable of them; the
            members of a group within the group are members of this one.
        app: the app that sends it; the first task's by default.
    """

    subtask_type = "group"

    def __init__(self, *tasks: Any, app: TaskQ | None = None) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and "subtask_type" in tasks[0]:
            first = tasks[0]
            if first["subtask_type"] == "group":
                super().__init__(first, app=app)
                return
        single = len(tasks) == 1 and not isinstance(tasks[0], Mapping)
        flat = list(_flatten(tasks[0] if single else tasks))
        super().__init__(
            "taskq.group",
            kwargs={"tasks": flat},
            app=app or (flat[0]._app if flat else None),
        )

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        return [
            task if isinstance(task, Signature) else Signature.from_dict(task, self._app)
            for task in self["kwargs"]["tasks"]
        ]

    def __len__(self) -> int:
        return len(self["kwargs"]["tasks"])

    def __bool__(self) -> bool:
        return True

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Let the members begin one after the other.

        Args:
            start: countdown of the first, in seconds.
            stop: the countdown at which it starts again, or None.
            step: seconds between two.
        """
        countdown = start
        members = []
        for task in self.tasks:
            members.append(task.clone(countdown=countdown))
            countdown += step
            if stop is not None and countdown >= stop:
                countdown = start
        self["kwargs"]["tasks"] = members
        return self

    def calls(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        chord: Mapping[str, Any] | None = None,
    ) -> list[Signature]:
        """The members as they are sent, each with its place in the group.

        Args:
            args: positional arguments, added to each member's.
            kwargs: keyword arguments, likewise.
            options: options of the call.
            chord: the body that gets the results, as a document.
        """
        whole = {**self["options"], **(options or {})}
        group_id = whole.pop("group_id", None) or whole.pop("task_id", None) or new_id()
        args = tuple(args)
        calls = []
        for index, task in enumerate(self.tasks):
            place = {"group_id": group_id, "group_index": index}
            if chord is not None:
                place["chord"] = {**chord, "chord_size": len(self)}
            calls.append(_in_place(task, args, kwargs, whole, place))
        return calls

    def apply_async(  # type: ignore[override]  # many results, where a signature has one
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[Any]:
        """Send all members in one round trip."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        calls = self.calls(args, kwargs, options)
        return self.app.GroupResult(group_id_of(calls), self.app.send_many(calls))

    async def aapply_async(  # type: ignore[override]
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            # asyncio is imported by those who use it: it doubles the time to import taskq.
            import asyncio

            return await asyncio.to_thread(self.apply, args, kwargs, **options)
        calls = self.calls(args, kwargs, options)
        return self.app.GroupResult(group_id_of(calls), await self.app.asend_many(calls))

    def delay(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:  # type: ignore[override]
        """Send it, with arguments added to each member's."""
        return self.apply_async(args, kwargs)

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``?"""
        return bool(self.app.conf.task_always_eager)

    def apply(  # type: ignore[override]
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[Any]:
        """Run the members here and now, one after the other."""
        throw = options.pop("throw", None)
        results: list[EagerResult[Any]] = [
            task.apply(args, kwargs, throw=throw, **options) for task in self.tasks
        ]
        return self.app.GroupResult(new_id(), results)

    def __call__(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:
        """Send it, as Celery's groups do when called."""
        return self.apply_async(args, kwargs)

    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        """A group followed by a task is a chord."""
        return self._kinds["chord"](self, other, app=self._app)

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"


def _in_place(
    task: Signature,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    whole: Mapping[str, Any],
    place: Mapping[str, Any],
) -> Signature:
    """A member with its place; of a chain the last step has it, whose result counts."""
    if isinstance(task, chain):
        steps = task.steps(whole)
        if not steps:
            raise ValueError("a chain without tasks cannot be a member of a group")
        steps[-1]["options"] = {**steps[-1]["options"], **place}
        call = chain(*steps, app=task._app)
        if args or kwargs:
            first = steps[0]
            first["args"], first["kwargs"], _ = first.merge(args, kwargs)
        return call
    copy = task.clone(args, kwargs)
    copy["options"] = {**whole, **copy["options"], **place}
    return copy


def _flatten(tasks: Iterable[Any]) -> Iterable[Signature]:
    for task in tasks:
        signature = task if isinstance(task, Signature) else Signature.from_dict(task)
        if isinstance(signature, group):
            yield from signature.tasks
        else:
            yield signature


def group_id_of(calls: list[Signature]) -> str:
    """The group's id, which every member has."""
    if not calls:
        return new_id()
    last = calls[0].tasks[-1] if isinstance(calls[0], chain) else calls[0]
    return str(last["options"]["group_id"])
