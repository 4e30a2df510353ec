"""What runs when: one entry of the schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from taskq.exceptions import ImproperlyConfigured
from taskq.schedules.base import BaseSchedule
from taskq.schedules.plain import plain_schedule, read_schedule

MISSED = ("once", "all", "skip")
"""What can become of ticks that nobody could send in time."""
_FIELDS = (
    *("task", "schedule", "args", "kwargs", "options"),
    *("relative", "missed", "max_lateness", "enabled"),
)
_LONGEST_NAME = 200


@dataclass(slots=True)
class ScheduleEntry:
    """A task with the rule by which it is sent.

    Attributes:
        name: of the entry; unique.
        task: the task's name.
        schedule: the rule.
        args: positional arguments.
        kwargs: keyword arguments.
        options: of the call, as for `Task.apply_async`.
        missed: what becomes of ticks that nobody could send in time: ``once`` sends the last
            of them, ``all`` each of them, ``skip`` none.  None is the setting ``beat_missed``.
        max_lateness: seconds after which a tick is not worth sending any more.
        enabled: whether it runs.
        signature: what is sent in place of the task: a chain, a group or a chord.

    Raises:
        ImproperlyConfigured: one of them makes no sense.
    """

    name: str
    task: str
    schedule: BaseSchedule
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    missed: str | None = None
    max_lateness: float | None = None
    enabled: bool = True
    signature: Any = None

    def __post_init__(self) -> None:
        name: Any = self.name
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            raise ImproperlyConfigured(
                f"schedule entry {name!r}: a name is text of 1 to {_LONGEST_NAME} characters"
            )
        task: Any = self.task
        if not isinstance(task, str) or not task:
            raise self._wrong(f"task={task!r} must be the name of a task")
        if self.missed is not None and self.missed not in MISSED:
            raise self._wrong(f"missed={self.missed!r}: choose one of {', '.join(MISSED)}")
        lateness: Any = self.max_lateness
        if isinstance(lateness, timedelta):
            self.max_lateness = lateness.total_seconds()
        elif lateness is not None and (
            isinstance(lateness, bool) or not isinstance(lateness, int | float) or lateness < 0
        ):
            raise self._wrong(f"max_lateness={lateness!r} must be a number of seconds")
        enabled: Any = self.enabled
        if not isinstance(enabled, bool):
            raise self._wrong(f"enabled={enabled!r} must be true or false")

    def _wrong(self, what: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(f"schedule entry {self.name!r}: {what}")

    @classmethod
    def from_mapping(cls, name: str, fields: Any) -> ScheduleEntry:
        """The entry that ``beat_schedule`` has under a name.

        Raises:
            ImproperlyConfigured: a field is missing, unknown or makes no sense.
        """
        if isinstance(fields, ScheduleEntry):
            return fields
        if not isinstance(fields, Mapping):
            raise ImproperlyConfigured(
                f"schedule entry {name!r} must be a mapping with 'task' and 'schedule', "
                f"not {fields!r}"
            )
        if unknown := [key for key in fields if key not in _FIELDS]:
            raise _unknown_field(name, unknown[0])
        for needed in ("task", "schedule"):
            if fields.get(needed) is None:
                raise ImproperlyConfigured(f"schedule entry {name!r} has no {needed!r}")
        return cls.build(name, **fields)

    @classmethod
    def build(
        cls,
        name: str,
        *,
        task: Any,
        schedule: Any,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        missed: str | None = None,
        max_lateness: float | None = None,
        enabled: bool = True,
        signature: Any = None,
    ) -> ScheduleEntry:
        """An entry whose schedule is written in one of the short ways of `read_schedule`.

        Raises:
            ImproperlyConfigured: something makes no sense.
        """
        try:
            rule = read_schedule(schedule, relative=relative)
        except (ValueError, TypeError) as exc:
            raise ImproperlyConfigured(f"schedule entry {name!r}: {exc}") from exc
        if isinstance(args, str) or not isinstance(args or (), Iterable):
            raise ImproperlyConfigured(f"schedule entry {name!r}: args={args!r} must be a list")
        for what, value in (("kwargs", kwargs), ("options", options)):
            if not isinstance(value or {}, Mapping):
                raise ImproperlyConfigured(
                    f"schedule entry {name!r}: {what}={value!r} must be a mapping"
                )
        return cls(
            name,
            # A task may be given in place of its name.
            getattr(task, "name", task),
            rule,
            tuple(args or ()),
            dict(kwargs or {}),
            dict(options or {}),
            missed,
            max_lateness,
            enabled,
            signature,
        )

    def to_mapping(self) -> dict[str, Any]:
        """What a store keeps: `from_mapping` makes the same entry of it.

        Raises:
            TypeError: its schedule can only be written in code, or it sends a workflow.
        """
        if self.signature is not None:
            raise TypeError(f"schedule entry {self.name!r} sends a workflow: write it in code")
        fields: dict[str, Any] = {"task": self.task, "schedule": plain_schedule(self.schedule)}
        for name in ("args", "kwargs", "options", "missed", "max_lateness"):
            if value := getattr(self, name):
                fields[name] = value
        if self.max_lateness == 0:
            fields["max_lateness"] = 0
        return fields


def read_entries(schedule: Mapping[str, Any]) -> dict[str, ScheduleEntry]:
    """The entries of the setting ``beat_schedule``.

    Raises:
        ImproperlyConfigured: it is no mapping, or one of them makes no sense.
    """
    if not isinstance(schedule, Mapping):
        raise ImproperlyConfigured(
            f"beat_schedule must be a mapping from names to entries, not {schedule!r}"
        )
    return {name: ScheduleEntry.from_mapping(name, fields) for name, fields in schedule.items()}


def _unknown_field(name: str, unknown: Any) -> ImproperlyConfigured:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    near = get_close_matches(str(unknown), _FIELDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_FIELDS)}"
    return ImproperlyConfigured(f"schedule entry {name!r} has no field {unknown!r}: {hint}")
