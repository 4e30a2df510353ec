"""What a signature is made of: plain data in Celery's form, read and written by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class CallData(dict[str, Any]):
    """A call of a task as a dict, whose items have attributes."""

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

    @args.setter
    def args(self, value: Iterable[Any]) -> None:
        self["args"] = tuple(value)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, value: Mapping[str, Any]) -> None:
        self["kwargs"] = dict(value)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the call."""
        options: dict[str, Any] = self["options"]
        return options

    @options.setter
    def options(self, value: Mapping[str, Any]) -> None:
        self["options"] = dict(value)

    @property
    def immutable(self) -> bool:
        """Whether arguments of a previous step are ignored."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> str | None:
        """The task id that it will be sent under, once frozen."""
        task_id: str | None = self["options"].get("task_id")
        return task_id

    @property
    def root_id(self) -> str | None:
        """The first task of the workflow, if that was set."""
        root_id: str | None = self["options"].get("root_id")
        return root_id

    @property
    def parent_id(self) -> str | None:
        """The task that sends it, if that was set."""
        parent_id: str | None = self["options"].get("parent_id")
        return parent_id


def kind_of(document: Mapping[str, Any]) -> str:
    """Which kind of signature this is; "" is a task's.

    Raises:
        TypeError: it is none.
    """
    try:
        return document.get("subtask_type") or ""
    except AttributeError:
        raise TypeError(
            f"{document!r} is no signature: write task.s(...), or give its dict form"
        ) from None


def as_list(signatures: Any) -> list[Any]:
    """The `link` and `link_error` options take one signature or several."""
    if signatures is None:
        return []
    return list(signatures) if isinstance(signatures, list | tuple) else [signatures]
