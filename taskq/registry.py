"""The tasks of an app, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq.exceptions import NotRegistered

if TYPE_CHECKING:
    from taskq.task import Task


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """Tasks by name; asking for one that is not there names the nearest that is."""

    def __missing__(self, name: str) -> Task[..., Any]:
        raise self.unknown(name)

    def unknown(self, name: str) -> NotRegistered:
        """The error that says that a task is not there, and what is near."""
        # difflib is imported here since only mistakes need it.
        from difflib import get_close_matches

        near = get_close_matches(name, self, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return NotRegistered(
            f"no task named {name!r} is registered: {hint}Tasks are known once the app imports "
            "their module (settings imports and include, or app.autodiscover_tasks)"
        )
