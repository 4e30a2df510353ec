"""Groups: tasks that run at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from taskq.canvas.signature import Signature, maybe_signature
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.group_result import GroupResult


class group(Signature):  # noqa: N801 - the field's name for it
    """Tasks that run at the same time, sent in one round trip.

    Args:
        tasks: signatures, chains and groups among them, or one iterable of them; the
            members of a group within the group are members of this one.
        app: the app that sends it; the first task's by default.
        options: options of the call of each member.
    """

    subtask_type = "group"

    def __init__(self, *tasks: Any, app: TaskQ | None = None, **options: Any) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and "subtask_type" in tasks[0]:
            first = tasks[0]
            if first["subtask_type"] == "group":
                super().__init__(first, app=app)
                self["options"].update(options)
                return
        single = len(tasks) == 1 and not isinstance(tasks[0], Mapping)
        flat = list(_flatten(tasks[0] if single else tasks))
        super().__init__(
            "taskq.group",
            kwargs={"tasks": flat},
            options=options,
            app=app or (flat[0]._app if flat else None),
        )

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        return [
            task if isinstance(task, Signature) else Signature.from_dict(task, self._app)
            for task in self["kwargs"]["tasks"]
        ]

    @tasks.setter
    def tasks(self, value: Iterable[Signature]) -> None:
        self["kwargs"]["tasks"] = list(value)

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

    def set_immutable(self, immutable: bool) -> Self:
        """Let the members ignore, or take, the arguments of a previous step."""
        self["kwargs"]["tasks"] = [t.clone().set_immutable(immutable) for t in self.tasks]
        return self

    def link_error(self, errback: Signature) -> tuple[Signature, ...]:
        """Send `errback` for each member that fails; returns the errback of each."""
        members = [task.clone() for task in self.tasks]
        self["kwargs"]["tasks"] = members
        found = maybe_signature(errback, self._app)
        assert found is not None
        return tuple(task.link_error(found.clone()) for task in members)

    def frozen(self, make_id: Callable[[], str] = new_id) -> Signature:
        """A copy with an id, whose members have ids as well."""
        copy = self.clone(task_id=self.id or make_id())
        copy["kwargs"]["tasks"] = [task.frozen(make_id) for task in self.tasks]
        return copy

    def result(self, parent: Any = None) -> Any:
        """The results of the members."""
        return self.app.GroupResult(str(self.id), [task.result() for task in self.tasks], parent)

    def apply_async(  # type: ignore[override]  # many results, where a signature has one
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """Send all members in one round trip."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        result: GroupResult[Any] = self.app.send_canvas(self, args, kwargs, options)
        return result

    async def aapply_async(  # type: ignore[override]
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            # asyncio is imported by those who use it: it doubles the time to import taskq.
            import asyncio

            return await asyncio.to_thread(self.apply, args, kwargs, **options)
        result: GroupResult[Any] = await self.app.asend_canvas(self, args, kwargs, options)
        return result

    def delay(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:  # type: ignore[override]
        """Send it, with arguments added to each member's."""
        return self.apply_async(args, kwargs)

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``?"""
        return bool(self.app.conf.task_always_eager)

    def apply(  # type: ignore[override]
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """Run the members here and now, one after the other."""
        # Imported here since it knows all kinds of signatures.
        from taskq.canvas.eager import run_here

        result: GroupResult[Any] = run_here(self, args, kwargs, options)
        return result

    def __call__(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:
        """Send it, as Celery's groups do when called."""
        return self.apply_async(args, kwargs)

    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        """A group that something follows is a chord."""
        if not isinstance(other, Signature):
            return NotImplemented
        return self._kinds["chord"](self, other, app=self._app)

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"


def _flatten(tasks: Iterable[Any]) -> Iterable[Signature]:
    for task in tasks:
        signature = task if isinstance(task, Signature) else Signature.from_dict(task)
        if isinstance(signature, group):
            yield from signature.tasks
        else:
            yield signature
