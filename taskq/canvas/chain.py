"""Chains: tasks one after the other, each given the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.signature import Signature, as_list

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
    """

    subtask_type = "chain"

    def __init__(self, *tasks: Any, app: TaskQ | None = None) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and "subtask_type" in tasks[0]:
            first = tasks[0]
            if first["subtask_type"] == "chain":
                super().__init__(first, app=app)
                return
        steps = tasks[0] if len(tasks) == 1 and isinstance(tasks[0], list | tuple) else tasks
        flat = _with_chords(list(_flatten(steps)))
        super().__init__(
            "taskq.chain",
            kwargs={"tasks": flat},
            app=app or (flat[0]._app if flat else None),
        )

    @property
    def tasks(self) -> list[Signature]:
        """The steps, in the order of running."""
        return [
            step if isinstance(step, Signature) else Signature.from_dict(step, self._app)
            for step in self["kwargs"]["tasks"]
        ]

    def steps(self, options: Mapping[str, Any] | None = None) -> list[Signature]:
        """Copies of the steps, each with what is said of the chain as a whole.

        The id and the callbacks of a chain are its last step's, its errbacks are every
        step's, and when it is to start is said to the first.

        Args:
            options: options of the call; they win over the chain's, and a step's own over both.
        """
        steps = [step.clone() for step in self.tasks]
        if not steps:
            return []
        whole = {**self["options"], **(options or {})}
        start = {name: whole.pop(name) for name in ("countdown", "eta") if name in whole}
        last_id = whole.pop("task_id", None)
        links = as_list(whole.pop("link", None))
        errors = as_list(whole.pop("link_error", None))
        for step in steps:
            step._app = step._app or self._app
            step["options"] = {**whole, **start, **step["options"]}
            start = {}
            for errback in errors:
                step.link_error(errback)
        if last_id:
            steps[-1]["options"]["task_id"] = last_id
        for callback in links:
            steps[-1].link(callback)
        return steps

    def call(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Signature, list[str]]:
        """The first step with the rest on its back, and the ids of all steps.

        Raises:
            ValueError: the chain is empty.
        """
        steps = [step.frozen() for step in self.steps(options)]
        if not steps:
            raise ValueError("a chain without tasks cannot be sent")
        ids = [str(step.id) for step in steps]
        first = steps[0]
        first["args"], first["kwargs"], _ = first.merge(args, kwargs)
        # Protocol 2 keeps what follows in reverse, so that each step takes the last.
        first["options"]["chain"] = [dict(step) for step in reversed(steps[1:])]
        first["options"].setdefault("root_id", ids[0])
        return first, ids

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send it; the result is the last step's, its `parent` the step before, and so on."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        if (many := self.begins_with_many(options)) is not None:
            return many.apply_async(args, kwargs)
        first, ids = self.call(args, kwargs, options)
        self.app.send_task(first.task, first.args, first.kwargs, **first.options)
        return self._result(first, ids)

    async def aapply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            return await self._apply_in_thread(args, kwargs, options)
        if (many := self.begins_with_many(options)) is not None:
            return await many.aapply_async(args, kwargs)
        first, ids = self.call(args, kwargs, options)
        await self.app.asend_task(first.task, first.args, first.kwargs, **first.options)
        return self._result(first, ids)

    def plan(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[list[Signature], Any]:
        """The call of the first step, or those of the group that it begins with."""
        if (many := self.begins_with_many(options or {})) is not None:
            return many.plan(args, kwargs)
        first, ids = self.call(args, kwargs, options)
        return [first], self._result(first, ids)

    def _result(self, first: Signature, ids: list[str]) -> AsyncResult[Any]:
        """The last step's result, its `parent` the step before, and so on."""
        if not (rest := first.options.get("chain")):
            return self.app.result_chain(ids)
        last = Signature.from_dict(rest[0], self.app)
        result: AsyncResult[Any] = last.result(self.app.result_chain(ids[:-1]))
        return result

    def frozen(self) -> Signature:
        """A copy whose steps have ids."""
        return chain(*(step.frozen() for step in self.steps()), app=self._app)

    def result(self, parent: Any = None) -> Any:
        """The last step's result, its `parent` the step before, and so on."""
        for step in self.tasks:
            parent = step.result(parent)
        return parent

    def begins_with_many(self, options: Mapping[str, Any]) -> Signature | None:
        """The group or chord that it begins with, with what follows that on its back."""
        if not self.tasks or self.tasks[0].subtask_type not in ("group", "chord"):
            return None
        # A document from elsewhere may have a group before another step.
        first, *rest = _with_chords(self.steps(options))
        return first.followed_by(rest) if rest else first  # type: ignore[attr-defined]

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``, and all tasks known?"""
        app = self.app
        return app.conf.task_always_eager and all(
            step.subtask_type or step.task in app.tasks for step in self.tasks
        )

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Run the steps here and now.

        Returns:
            The last step's result, or that of the first one that does not succeed.

        Raises:
            ValueError: the chain is empty.
        """
        throw = options.pop("throw", None)
        steps = self.steps(options)
        if not steps:
            raise ValueError("a chain without tasks cannot be run")
        result = steps[0].apply(args, kwargs, throw=throw)
        for step in steps[1:]:
            if not result.successful():
                break
            previous, result = result, step.apply((result.get(),), throw=throw)
            result.parent = previous
        return result

    def __or__(self, other: Signature) -> chain:  # type: ignore[override]
        return chain(self, other, app=self._app)

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send it, as Celery's chains do when called."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))


def _with_chords(steps: list[Signature]) -> list[Signature]:
    """A group that something follows is a chord."""
    found: list[Signature] = []
    for step in steps:
        if found and found[-1].subtask_type == "group":
            found[-1] = Signature.kind("chord")(found[-1], step)
        else:
            found.append(step)
    return found


def _flatten(steps: Iterable[Any]) -> Iterable[Signature]:
    for step in steps:
        signature = step if isinstance(step, Signature) else Signature.from_dict(step)
        if isinstance(signature, chain):
            yield from signature.steps()
        else:
            yield signature
