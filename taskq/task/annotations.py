"""The setting ``task_annotations``: attributes of tasks that are changed without touching them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.task.task import Task


def annotate(task: Task[..., Any], annotations: Any) -> None:
    """Change a task's attributes as the setting says; what is for all comes first.

    Args:
        task: the task, which no app has taken in yet.
        annotations: attributes by the names of tasks, ``*`` for all; or an object whose methods
            ``annotate(task)`` and ``annotate_any()`` give the attributes; or a list of such.  An
            attribute that begins with ``@`` is a function: it is given what it names, a method,
            and returns what takes its place.

    Raises:
        ImproperlyConfigured: it is none of that.
    """
    if not annotations:
        return
    many = annotations if isinstance(annotations, list | tuple) else [annotations]
    for attributes in _found(many, task):
        for name, value in attributes.items():
            if name.startswith("@"):
                setattr(task, name[1:], value(getattr(task, name[1:])))
            else:
                setattr(task, name, value)


def _found(many: Any, task: Task[..., Any]) -> Iterator[Mapping[str, Any]]:
    for_it = []
    for one in many:
        if isinstance(one, Mapping):
            yield one.get("*") or {}
            for_it.append(one.get(task.name))
        elif hasattr(one, "annotate") or hasattr(one, "annotate_any"):
            if hasattr(one, "annotate_any"):
                yield one.annotate_any() or {}
            if hasattr(one, "annotate"):
                for_it.append(one.annotate(task))
        else:
            raise ImproperlyConfigured(
                f"task_annotations has {one!r}: give a dict of attributes by task name, or an "
                "object with a method annotate(task)"
            )
    yield from (attributes for attributes in for_it if attributes)
