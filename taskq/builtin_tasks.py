"""Tasks that every app has: `map`, `starmap` and `chunks` are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.maps import MAP_TASK, STARMAP_TASK
from taskq.canvas.plan import ACCUMULATE_TASK
from taskq.canvas.signature import Signature
from taskq.chords import make_chord_task, make_chord_unlock_task
from taskq.execution.calling import call
from taskq.task import Task

if TYPE_CHECKING:
    from taskq.app import TaskQ


class _Map(Task[..., list[Any]]):
    name = MAP_TASK

    def run(self, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
        """The results of a task for each of these arguments, one after the other."""
        function, args, kwargs = _function(self.app, task)
        return [call(function, (item, *args), kwargs) for item in it]


class _Starmap(Task[..., list[Any]]):
    name = STARMAP_TASK

    def run(self, task: Mapping[str, Any], it: Iterable[Iterable[Any]]) -> list[Any]:
        """The results of a task for each of these lists of arguments, one after the other."""
        function, args, kwargs = _function(self.app, task)
        return [call(function, (*items, *args), kwargs) for items in it]


class _Accumulate(Task[..., Any]):
    name = ACCUMULATE_TASK

    def run(self, *args: Any, index: int | None = 0) -> Any:
        """One of its arguments, or all of them if `index` is None."""
        return args if index is None else args[index]


class _Cleanup(Task[..., None]):
    name = "celery.backend_cleanup"

    def run(self) -> None:
        """Delete results that have expired, from stores that do not do that by themselves."""
        self.app.backend.cleanup()


def _function(app: TaskQ, task: Mapping[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    signature = Signature.from_dict(task, app)
    return app.tasks[signature.task].run, signature.args, signature.kwargs


def is_builtin(name: str) -> bool:
    """Is this the name of a task of taskq's own, which users have not written?"""
    return name.startswith(("taskq.", "celery."))


def builtin_tasks() -> list[Task[..., Any]]:
    """The tasks, for one app; also under the names that Celery gives them."""
    tasks: list[Task[..., Any]] = [make_chord_task(), make_chord_unlock_task(), _Cleanup()]
    for kind, word in ((_Map, "map"), (_Starmap, "starmap"), (_Accumulate, "accumulate")):
        other = kind()
        other.name = f"celery.{word}"
        tasks += [kind(), other]
    return tasks
