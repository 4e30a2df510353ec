"""One task over many arguments: in one message, or in a few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from taskq.canvas.group import group
from taskq.canvas.signature import Signature

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.group_result import GroupResult

MAP_TASK, STARMAP_TASK = "taskq.map", "taskq.starmap"


class _Map(Signature):
    """The parts that `xmap` and `xstarmap` share."""

    _name = ""
    _star = ""

    def __init__(
        self, task: Any, it: Iterable[Any] | None = None, app: TaskQ | None = None, **options: Any
    ) -> None:
        if isinstance(task, Mapping) and task.get("subtask_type") == self.subtask_type:
            super().__init__(task, app=app)
            self["options"].update(options)
            return
        call = task if isinstance(task, Signature) else Signature(task, app=app)
        super().__init__(
            self._name,
            kwargs={"task": call, "it": list(it or ())},
            options=options,
            immutable=True,
            app=app or call._app,
        )

    def __repr__(self) -> str:
        kwargs = self["kwargs"]
        return f"[{kwargs['task']['task']}({self._star}x) for x in {kwargs['it']!r}]"


class xmap(_Map):  # noqa: N801 - the field's name for it
    """A task for each of many arguments, one after the other in one message.

    Args:
        task: the task, or a signature of it.
        it: its arguments, one each.
        app: the app that sends it; the task's by default.
        options: options of the call.
    """

    subtask_type = "xmap"
    _name = MAP_TASK


class xstarmap(_Map):  # noqa: N801 - the field's name for it
    """`xmap` for tasks of several arguments, each given as a list.

    Args:
        task: the task, or a signature of it.
        it: lists of arguments.
        app: the app that sends it; the task's by default.
        options: options of the call.
    """

    subtask_type = "xstarmap"
    _name = STARMAP_TASK
    _star = "*"


class chunks(Signature):  # noqa: N801 - the field's name for it
    """A task for each of many lists of arguments, several of them in one message.

    Args:
        task: the task, or a signature of it.
        it: lists of arguments.
        n: how many of them a message has.
        app: the app that sends it; the task's by default.
        options: options of the call of each message.

    Raises:
        ValueError: `n` is less than 1.
    """

    subtask_type = "chunks"

    def __init__(
        self,
        task: Any,
        it: Iterable[Any] | None = None,
        n: int = 1,
        app: TaskQ | None = None,
        **options: Any,
    ) -> None:
        if isinstance(task, Mapping) and task.get("subtask_type") == "chunks":
            super().__init__(task, app=app)
            self["options"].update(options)
            return
        if n < 1:
            raise ValueError(f"chunks of {n} arguments: at least 1 is needed")
        call = task if isinstance(task, Signature) else Signature(task, app=app)
        super().__init__(
            "taskq.chunks",
            kwargs={"task": call, "it": list(it or ()), "n": n},
            options=options,
            immutable=True,
            app=app or call._app,
        )

    def group(self) -> group:
        """The messages, as a group of `xstarmap`."""
        task, it, n = (self["kwargs"][key] for key in ("task", "it", "n"))
        call = task if isinstance(task, Signature) else Signature.from_dict(task, self._app)
        parts = (xstarmap(call, part, app=self._app) for part in _parts(it, n))
        return group(parts, app=self._app, **self["options"])

    def apply_async(  # type: ignore[override]  # many results, where a signature has one
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """Send all messages in one round trip."""
        return self.group().apply_async(args, kwargs, **options)

    async def aapply_async(  # type: ignore[override]
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """`apply_async` for code on an event loop."""
        return await self.group().aapply_async(args, kwargs, **options)

    def apply(  # type: ignore[override]
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """Run it here and now."""
        return self.group().apply(args, kwargs, **options)

    def __call__(self, **options: Any) -> GroupResult[Any]:
        """Send it, as Celery's do when called."""
        return self.apply_async(**options)

    @classmethod
    def apply_chunks(
        cls, task: Any, it: Iterable[Any], n: int, app: TaskQ | None = None
    ) -> GroupResult[Any]:
        """Send a task for each of many lists of arguments, `n` of them in a message."""
        return cls(task, it, n, app=app)()


def _parts(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
