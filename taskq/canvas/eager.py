"""Running a workflow in the caller's process, one step after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.canvas.signature import Signature
from taskq.canvas.steps import of_member, steps_of
from taskq.exceptions import ChordError
from taskq.message import new_id
from taskq.result import EagerResult

if TYPE_CHECKING:
    from taskq.app import TaskQ


def run_here(
    signature: Signature,
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Any:
    """Run a chain, a group or a chord here and now.

    Args:
        signature: it.
        args: positional arguments for what begins.
        kwargs: keyword arguments, likewise.
        options: options of the call; `throw` among them.

    Returns:
        The result of the last step, or of the first one that does not succeed.

    Raises:
        ValueError: there is a chain without tasks, or a chord without a body.
    """
    options = dict(options)
    throw = options.pop("throw", None)
    steps = steps_of(signature, signature.merge(options=options)[2])
    return _Run(signature.app, throw).steps(steps, tuple(args or ()), kwargs)


class _Run:
    def __init__(self, app: TaskQ, throw: bool | None) -> None:
        self._app = app
        self._throw = throw

    def steps(
        self, steps: list[Signature], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> Any:
        if not steps:
            raise ValueError("a chain without tasks cannot be run: give it a task")
        result: Any = None
        for number, step in enumerate(steps, 1):
            before, result = result, self._step(step, args, kwargs)
            result.parent = before
            if number == len(steps):
                break
            if step.subtask_type != "group":
                if not result.successful():
                    break
                args, kwargs = (result.get(),), None
                continue
            failed = next((m for m in _singles(result) if m.state in states.PROPAGATE_STATES), None)
            if failed is not None:
                error = ChordError(f"Dependency {failed.id} raised {failed.result!r}")
                return self._app.fail_eagerly(steps[number:], error, self._throw)
            args, kwargs = ([_value(member) for member in result],), None
        return result

    def _step(
        self, step: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> Any:
        if step.subtask_type != "group":
            return step.apply(args, kwargs, throw=self._throw)
        members: Any = step
        whole = step["options"]
        given, named, _ = step.merge(args, kwargs)
        named.pop("tasks")
        results = [
            self.steps(steps_of(member, of_member(member, whole, {})), given, named)
            for member in members.tasks
        ]
        group_id = whole.get("task_id") or whole.get("group_id") or new_id()
        return self._app.GroupResult(group_id, results)


def _singles(result: Any) -> Iterator[Any]:
    """The results of single tasks; one that is a group's has members."""
    for member in result:
        if isinstance(member, EagerResult):
            yield member
        else:
            yield from _singles(member)


def _value(member: Any) -> Any:
    if not isinstance(member, EagerResult):
        return [_value(each) for each in member]
    return None if member.state == states.IGNORED else member.get()
