"""Chains: tasks one after the other, each given the result of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.call_data import as_list
from taskq.canvas.signature import Signature
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import AsyncResult, EagerResult


class chain(Signature):  # noqa: N801 - the field's name for it
    """Tasks that run one after the other.

    The whole chain travels with its first task, and each next step is sent in the
    settlement of the one before: a chain never stands still because a process died
    between two steps.

    Args:
        tasks: signatures in the order of running, chains among them, or one list of them.
        app: the app that sends it; the first task's by default.
        options: options of the call of the chain as a whole.
    """

    subtask_type = "chain"

    def __init__(self, *tasks: Any, app: TaskQ | None = None, **options: Any) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and "subtask_type" in tasks[0]:
            first = tasks[0]
            if first["subtask_type"] == "chain":
                super().__init__(first, app=app)
                self["options"].update(options)
                return
        single = len(tasks) == 1 and not isinstance(tasks[0], Mapping)
        flat = _joined(_flatten(tasks[0] if single else tasks))
        super().__init__(
            "taskq.chain",
            kwargs={"tasks": flat},
            options=options,
            app=app or (flat[0]._app if flat else None),
        )

    @property
    def tasks(self) -> list[Signature]:
        """The steps, in the order of running."""
        return [
            step if isinstance(step, Signature) else Signature.from_dict(step, self._app)
            for step in self["kwargs"]["tasks"]
        ]

    @tasks.setter
    def tasks(self, value: Iterable[Signature]) -> None:
        self["kwargs"]["tasks"] = list(value)

    def __len__(self) -> int:
        return len(self["kwargs"]["tasks"])

    def __bool__(self) -> bool:
        return True

    def unchain_tasks(self) -> list[Signature]:
        """Copies of the steps, each with what is said of the chain as a whole.

        The id and the callbacks of a chain are its last step's, its errbacks are every
        step's, and when it is to start is said to the first.
        """
        steps = [step.clone() for step in self.tasks]
        if not steps or not self["options"]:
            return steps
        whole = dict(self["options"])
        start = {name: whole.pop(name) for name in ("countdown", "eta") if name in whole}
        last = {name: whole.pop(name) for name in _OF_LAST if name in whole}
        links = as_list(whole.pop("link", None))
        errors = as_list(whole.pop("link_error", None))
        for step in steps:
            step._app = step._app or self._app
            step["options"] = {**whole, **start, **step["options"]}
            start = {}
            for errback in errors:
                step.append_to_list_option("link_error", errback)
        steps[-1]["options"].update(last)
        for callback in links:
            steps[-1].append_to_list_option("link", callback)
        return steps

    def frozen(self, make_id: Callable[[], str] = new_id) -> Signature:
        """A copy whose steps have ids."""
        return chain(*(step.frozen(make_id) for step in self.unchain_tasks()), app=self._app)

    def result(self, parent: Any = None) -> Any:
        """The last step's result, its `parent` the step before, and so on."""
        for step in self.tasks:
            parent = step.result(parent)
        return parent

    def apply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send it; the result is the last step's, its `parent` the step before, and so on.

        Raises:
            ValueError: the chain is empty.
        """
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        result: AsyncResult[Any] = self.app.send_canvas(self, args, kwargs, options)
        return result

    async def aapply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            return await self._apply_in_thread(args, kwargs, options)
        result: AsyncResult[Any] = await self.app.asend_canvas(self, args, kwargs, options)
        return result

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``, and all tasks known?"""
        app = self.app
        return app.conf.task_always_eager and all(
            step.subtask_type or step.task in app.tasks for step in self.tasks
        )

    def apply(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[Any]:
        """Run the steps here and now.

        Returns:
            The last step's result, or that of the first one that does not succeed.

        Raises:
            ValueError: the chain is empty.
        """
        # Imported here since it knows all kinds of signatures.
        from taskq.canvas.eager import run_here

        result: EagerResult[Any] = run_here(self, args, kwargs, options)
        return result

    def __or__(self, other: Signature) -> chain:  # type: ignore[override]
        if not isinstance(other, Signature):
            return NotImplemented
        # Steps are shared, not copied: a chain of n steps would cost n*n copies to write.
        mine = self.unchain_tasks() if self["options"] else self["kwargs"]["tasks"]
        joined = chain(app=self._app or other._app)
        joined["kwargs"]["tasks"] = _joined([other], list(mine))
        return joined

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send it, as Celery's chains do when called."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))


_OF_LAST = ("task_id", "group_id", "group_index", "chord")
"""Options of a chain that are its last step's."""


def _joined(steps: Iterable[Signature], found: list[Any] | None = None) -> list[Any]:
    """Steps behind others; a group that a single task follows is a chord."""
    found = [] if found is None else found
    for step in steps:
        if isinstance(step, chain):
            found = _joined(step.unchain_tasks(), found)
        elif found and found[-1]["subtask_type"] == "group" and step.subtask_type != "group":
            found[-1] = Signature.kind("chord")(found[-1], step, app=step._app)
        else:
            found.append(step)
    return found


def _flatten(steps: Iterable[Any]) -> Iterable[Signature]:
    for step in steps:
        signature = step if isinstance(step, Signature) else Signature.from_dict(step)
        if isinstance(signature, chain):
            yield from signature.unchain_tasks()
        else:
            yield signature
