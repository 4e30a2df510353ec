"""What is sent of a workflow: the calls that can begin, and the chords that wait for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskq.canvas.chord import CHORD_TASK
from taskq.canvas.group import group
from taskq.canvas.signature import Signature
from taskq.canvas.steps import of_member, steps_of
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.group_result import GroupResult
    from taskq.result import AsyncResult

ACCUMULATE_TASK = "taskq.accumulate"
"""The name of the task that returns the list of what it is given."""


@dataclass(slots=True)
class PlannedChord:
    """A group that something follows.

    Attributes:
        group_id: the group's id.
        size: how many members it has.
        steps: what follows, in the order of running.
        root_id: the first task of the workflow, if that was said.
    """

    group_id: str
    size: int
    steps: list[Signature]
    root_id: str | None


@dataclass(slots=True)
class Plan:
    """What is sent of a workflow.

    Attributes:
        calls: calls of tasks, the steps that follow them among their options.
        chords: what is to be kept before the calls are sent.
        counts: members are to be counted, now or later.
        begun: the result of the first step: an `AsyncResult` or a `GroupResult`.
        result: the result that all of it leads to, likewise.
    """

    calls: list[Signature] = field(default_factory=list)
    chords: list[PlannedChord] = field(default_factory=list)
    counts: bool = False
    begun: Any = None
    result: Any = None


@dataclass(slots=True)
class _Piece:
    """A part of the workflow that can begin at once, and where its result goes."""

    steps: list[Signature]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] | None
    results: list[Any]
    index: int
    parent: Any = None


def make_plan(
    signature: Signature,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    make_id: Callable[[], str] = new_id,
) -> Plan:
    """Plan the sending of a workflow.

    Args:
        signature: a signature of any kind.
        args: positional arguments for what begins.
        kwargs: keyword arguments, likewise.
        options: options of the call.
        make_id: makes ids; a follow-up gives the same ones each time.

    Raises:
        ValueError: there is a chain without tasks, or a chord without a body.
    """
    plan = Plan()
    results: list[Any] = [None]
    whole = signature.merge(options=options)[2]
    # A stack of its own, since there is no limit to how deep groups may be nested.
    pending = [_Piece(_steps(signature, whole), args, kwargs, results, 0)]
    while pending:
        pending += reversed(_take(plan, pending.pop(), make_id))
    plan.result = results[0]
    return plan


def _steps(signature: Signature, whole: Mapping[str, Any]) -> list[Signature]:
    steps = steps_of(signature, whole)
    if not steps:
        raise ValueError(
            "a chain without tasks cannot be sent, nor be a member of a group: give it a task"
        )
    last = steps[-1]
    if last.subtask_type == "group":
        options = last["options"]
        if "chord" in options:  # one member has one result: a list, if it ends with a group
            place = {key: options.pop(key) for key in ("group_id", "group_index", "chord")}
            steps.append(Signature(ACCUMULATE_TASK, options=place, app=last._app))
        elif "group_index" in options:
            del options["group_index"], options["group_id"]
    return steps


def _take(plan: Plan, piece: _Piece, make_id: Callable[[], str]) -> list[_Piece]:
    """Add to the plan what a piece begins with; returns the pieces that are in it."""
    first, *rest = piece.steps
    if any(isinstance(step, group) and len(step) for step in piece.steps[:-1]):
        plan.counts = True
    begun: Signature
    begun = _begun_group(first, make_id) if first.subtask_type == "group" else first.frozen(make_id)
    rest = [step.frozen(make_id) for step in rest]
    result: Any
    members: list[Any] = []
    if isinstance(begun, group):
        members = [None] * len(begun)
        result = begun.app.GroupResult(str(begun.id), (), piece.parent)
        result.results = members
    else:
        result = begun.result(piece.parent)
    if plan.begun is None:
        plan.begun = result
    last = result
    for step in rest:
        last = step.result(last)
    piece.results[piece.index] = last
    if isinstance(begun, group):
        return _members(plan, piece, begun, rest, members, result)
    begun["args"], begun["kwargs"], _ = begun.merge(piece.args, piece.kwargs)
    if rest:
        # Protocol 2 keeps what follows in reverse, so that each step takes the last.
        begun["options"]["chain"] = _passed_on(begun.app, rest)[::-1]
    plan.calls.append(begun)
    return []


def _begun_group(step: Signature, make_id: Callable[[], str]) -> group:
    options = step["options"]
    own = options.pop("task_id", None) or options.pop("group_id", None) or make_id()
    begun = group(step, app=step._app)
    begun["options"] = {**options, "task_id": own}
    return begun


def _body(app: TaskQ, steps: list[Signature]) -> Signature | dict[str, Any]:
    """What members carry as the body: a mark, since the store keeps what follows.

    Workers of Celery's send it themselves, and so need all of it.
    """
    if not (app.conf.celery_interop and app.backend.shares_chords):
        return {"task": CHORD_TASK, "options": {}}
    return _joined(_with_chords(steps), app)


def _passed_on(app: TaskQ, steps: list[Signature]) -> list[Signature]:
    """The further steps of a chain as messages have them, for Celery's workers in its own form."""
    return _with_chords(steps) if app.conf.celery_interop else steps


def _with_chords(steps: list[Signature]) -> list[Signature]:
    """The same steps, with chords in place of groups that something follows."""
    for number, step in enumerate(steps[:-1]):
        if isinstance(step, group):
            body = _joined(_with_chords(steps[number + 1 :]), step._app)
            return [*steps[:number], Signature.kind("chord")(step, body, app=step._app)]
    return steps


def _joined(steps: list[Signature], app: TaskQ | None) -> Signature:
    return steps[0] if len(steps) == 1 else Signature.kind("chain")(*steps, app=app)


def _members(
    plan: Plan,
    piece: _Piece,
    begun: group,
    rest: list[Signature],
    results: list[AsyncResult[Any]],
    result: GroupResult[Any],
) -> list[_Piece]:
    """The members of a group as pieces; if there are none, what follows is one."""
    options = begun["options"]
    members = begun.tasks
    if not members:
        if not rest:
            return []
        holder: list[Any] = [None]
        return [_Piece(rest, ([],), None, holder, 0, result)]
    place: dict[str, Any] = {"group_id": begun.id}
    if rest:
        root_id = options.get("root_id")
        plan.chords.append(PlannedChord(str(begun.id), len(members), rest, root_id))
        place["chord"] = {**_body(begun.app, rest), "chord_size": len(members)}
    args, kwargs, _ = begun.merge(piece.args, piece.kwargs)
    del kwargs["tasks"]
    return [
        _Piece(
            _steps(member, of_member(member, options, {**place, "group_index": index})),
            args,
            kwargs,
            results,
            index,
        )
        for index, member in enumerate(members)
    ]


def link_ids(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of the results that these steps would have, as documents."""
    found: list[str] = []
    pending: list[Mapping[str, Any]] = list(reversed(steps))
    while pending:
        step = pending.pop()
        inner = step.get("kwargs") or {}
        kind = step.get("subtask_type")
        if kind == "group":
            # Of a member that is a chain, whoever waits asks for the last step.
            pending += reversed(inner["tasks"])
        elif kind == "chain":
            pending.append(inner["tasks"][-1])
        elif kind == "chord" and (inner.get("body") or {}).get("subtask_type"):
            pending.append(inner["body"])
        elif task_id := (step.get("options") or {}).get("task_id"):
            found.append(task_id)
    return found
