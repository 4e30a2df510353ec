"""Do the steps of a workflow fit each other?  As far as it can be known when they are sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskq.canvas.call_data import as_list
from taskq.canvas.signature import Signature

if TYPE_CHECKING:
    from taskq.registry import TaskRegistry


class _Result:
    """Stands for the result of the step before."""

    def __repr__(self) -> str:
        return "<the result of the step before>"


_RESULT = _Result()


def check_steps_fit(steps: Iterable[Any], tasks: TaskRegistry) -> None:
    """Raise TypeError if a step cannot be called with what it is given.

    Each is given the result of the step before, unless it is immutable; a task that is not
    known here, or has ``typing=False``, is not judged.

    Args:
        steps: tasks, groups, chains and chords, each of which follows something.
        tasks: those that are known here.
    """
    pending = list(steps)
    while pending:
        found = pending.pop()
        step = found if isinstance(found, Signature) else Signature.from_dict(found)
        kind = step.subtask_type
        if kind in ("group", "chain"):
            pending += as_list(step["kwargs"].get("tasks"))
        elif kind == "chord":
            pending += as_list(step["kwargs"].get("header")) + as_list(step["kwargs"].get("body"))
        elif kind is None and (task := tasks.get(step.task)) is not None and task.typing:
            given = () if step.immutable else (_RESULT,)
            task.check_arguments((*given, *step["args"]), step["kwargs"])
            pending += as_list(step["options"].get("link"))
