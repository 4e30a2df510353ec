"""What an app's code says of when its tasks run by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.canvas import Signature
from taskq.exceptions import ImproperlyConfigured
from taskq.task import Task

if TYPE_CHECKING:
    from taskq.schedules import BaseSchedule, ScheduleEntry

T = TypeVar("T", bound=Task[..., Any])


class Periodic:
    """The part of an app that keeps the schedule entries that its code has.

    Attributes:
        periodic_entries: the entries of `periodic` and `add_periodic_task`, by name.
        memory_schedule: the schedule store that lives in this process, once beat has made it.
    """

    def __init__(self) -> None:
        self.periodic_entries: dict[str, ScheduleEntry] = {}
        self.memory_schedule: Any = None

    def periodic(
        self,
        schedule: BaseSchedule | float | timedelta | str,
        *,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        missed: str | None = None,
        max_lateness: float | None = None,
        enabled: bool = True,
    ) -> Callable[[T], T]:
        """Have beat send a task, said beside the task itself, above ``@app.task``.

            @app.periodic(crontab(minute=0, hour=2))
            @app.task
            def clean_up() -> None: ...

        Args:
            schedule: when: ``crontab(...)``, seconds, a timedelta, or text as in a crontab.
            name: of the entry; the task's by default.
            args: positional arguments of the task.
            kwargs: keyword arguments.
            options: of the call, as for `Task.apply_async`.
            relative: at round times, see `taskq.schedules.schedule`.
            missed: what becomes of ticks that nobody could send in time: once, all or skip.
            max_lateness: seconds after which a tick is not worth sending any more.
            enabled: whether it runs.

        Raises:
            ImproperlyConfigured: something makes no sense, or another entry has that name.
        """

        def keep(task: T) -> T:
            if not isinstance(task, Task):
                raise TypeError(f"@app.periodic goes above @app.task, not on {task!r}")
            self._add_periodic(
                name or task.name,
                task=task,
                schedule=schedule,
                args=args,
                kwargs=kwargs,
                options=options,
                relative=relative,
                missed=missed,
                max_lateness=max_lateness,
                enabled=enabled,
            )
            return task

        return keep

    def add_periodic_task(
        self,
        schedule: BaseSchedule | float | timedelta | str,
        sig: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **opts: Any,
    ) -> str:
        """Have beat send a task, as Celery has it: in a receiver of `on_after_configure`.

        Args:
            schedule: when.
            sig: a signature, also of a workflow; or a task.
            args: positional arguments, in place of the signature's.
            kwargs: keyword arguments, in place of the signature's.
            name: of the entry; the signature as text by default.
            opts: options of the call; ``missed``, ``max_lateness`` and ``enabled`` as for
                `periodic`.

        Returns:
            The entry's name.

        Raises:
            ImproperlyConfigured: something makes no sense.
        """
        call = sig.s() if isinstance(sig, Task) else sig
        if not isinstance(call, Signature):
            raise TypeError(f"add_periodic_task needs a signature or a task, not {sig!r}")
        name = name or repr(call)[:200]
        own = {key: opts.pop(key) for key in ("missed", "max_lateness", "enabled") if key in opts}
        is_workflow = call.subtask_type is not None
        self.periodic_entries.pop(name, None)  # the same receiver may be called again
        self._add_periodic(
            name,
            task=call.task,
            schedule=schedule,
            args=args or (() if is_workflow else call.args),
            kwargs=kwargs or ({} if is_workflow else call.kwargs),
            options={**({} if is_workflow else call["options"]), **opts},
            signature=call if is_workflow else None,
            **own,
        )
        return name

    def _add_periodic(self, name: str, **fields: Any) -> None:
        # The rules are loaded by those who use them.
        from taskq.schedules import ScheduleEntry

        entry = ScheduleEntry.build(name, **fields)
        if self.periodic_entries.setdefault(name, entry) != entry:
            raise ImproperlyConfigured(
                f"two schedule entries are named {name!r}: give one of them another name="
            )
