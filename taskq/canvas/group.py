"""Groups: tasks that run at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.chain import chain
from taskq.canvas.signature import Signature, as_list
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import EagerResult
    from taskq.result_set import GroupResult


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
        task_id = whole.pop("task_id", None)
        group_id = whole.pop("group_id", None) or task_id or new_id()
        args = (*args, *self["args"])
        given = {**self["kwargs"], **(kwargs or {})}
        del given["tasks"]
        calls = []
        for index, task in enumerate(self.tasks):
            place = {"group_id": group_id, "group_index": index}
            if chord is not None:
                place["chord"] = {**chord, "chord_size": len(self)}
            calls.append(_in_place(task, args, given, whole, place))
        return calls

    def plan(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[list[Signature], Any]:
        """The calls of all members."""
        calls = self.calls(args, kwargs, options)
        plans = [call.plan() for call in calls]
        return (
            [call for plan, _ in plans for call in plan],
            self.app.GroupResult(group_id_of(calls), [result for _, result in plans]),
        )

    def frozen(self) -> Signature:
        """A copy with an id, whose members have ids as well."""
        copy = self.clone(task_id=self.id or new_id())
        copy["kwargs"]["tasks"] = [task.frozen() for task in self.tasks]
        return copy

    def result(self, parent: Any = None) -> Any:
        """The results of the members."""
        return self.app.GroupResult(str(self.id), [task.result() for task in self.tasks], parent)

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
        calls = self.calls(args, kwargs, options)
        results: list[EagerResult[Any]] = [call.apply(throw=throw) for call in calls]
        return self.app.GroupResult(group_id_of(calls), results)

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
    """A member with its place, the options of the whole group, and the arguments of its call."""
    whole = dict(whole)
    copy = task.clone()
    for name in ("link", "link_error"):
        for signature in as_list(whole.pop(name, None)):
            copy._append(name, signature)
    if isinstance(copy, chain):
        steps = copy.steps(whole)
        if not steps:
            raise ValueError("a chain without tasks cannot be a member of a group")
        steps[0]["args"], steps[0]["kwargs"], _ = steps[0].merge(args, kwargs)
        copy = chain(*steps, app=task._app)
    else:
        copy["args"], copy["kwargs"], _ = copy.merge(args, kwargs)
        copy["options"] = {**whole, **copy["options"]}
    return _placed(copy, place)


def _placed(member: Signature, place: Mapping[str, Any]) -> Signature:
    """Give the place to the one task whose result counts: a chain's last, a chord's body."""
    copy = member.clone()
    if isinstance(member, chain):
        *steps, last = member.steps()
        return chain(*steps, _placed(last, place), app=member._app)
    if member.subtask_type == "chord":
        body = copy["kwargs"]["body"]
        if body is None:
            raise ValueError("a chord needs a body before it can be a member of a group")
        copy["kwargs"]["body"] = _placed(Signature.from_dict(body, member._app), place)
    elif not isinstance(member, group):
        copy["options"] = {**copy["options"], **place}
    elif "chord" in place:
        raise ValueError(
            f"the member {member!r} of a chord ends with a group, which has many results: let one "
            "more task follow that group"
        )
    return copy


def _flatten(tasks: Iterable[Any]) -> Iterable[Signature]:
    for task in tasks:
        signature = task if isinstance(task, Signature) else Signature.from_dict(task)
        if isinstance(signature, group):
            yield from signature.tasks
        else:
            yield signature


def group_id_of(calls: list[Signature]) -> str:
    """The group's id, which every member has; a new one if none can tell."""
    return next(filter(None, map(_group_id, calls)), None) or new_id()


def _group_id(call: Signature) -> str | None:
    if isinstance(call, chain):
        return _group_id(call.tasks[-1])
    if call.subtask_type == "chord":
        return _group_id(Signature.from_dict(call["kwargs"]["body"]))
    group_id: str | None = call["options"].get("group_id")
    return group_id
