"""What takes the place of a running task, or joins the chord that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq.canvas.call_data import as_list
from taskq.canvas.chain import chain
from taskq.canvas.plan import ACCUMULATE_TASK
from taskq.canvas.signature import Signature
from taskq.canvas.steps import steps_of
from taskq.exceptions import ImproperlyConfigured
from taskq.message import step_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.request import Request

_JOINED = 1_000_000
"""The places of members that one member adds to its chord begin at a multiple of this."""


def replacement(app: TaskQ, request: Request, signature: Signature) -> chain:
    """What takes a task's place: under its id, with all that followed the task behind it.

    Args:
        app: the task's app.
        request: the task.
        signature: the replacement.

    Raises:
        ImproperlyConfigured: it is a member of a chord itself, or has no tasks.
    """
    if "chord" in signature["options"]:
        raise ImproperlyConfigured(
            f"{signature!r} is a member of a chord and cannot replace a task: the replacement "
            "takes over the place that the task has"
        )
    steps = steps_of(signature, signature["options"])
    if not steps:
        raise ImproperlyConfigured("a task cannot be replaced by an empty chain: give it a task")
    if steps[-1].subtask_type == "group":  # the task has one result: the list of theirs
        steps.append(Signature(ACCUMULATE_TASK, app=app))
    nesting: dict[str, Any] = {"replaced_task_nesting": request.replaced_task_nesting + 1}
    for step in steps:
        step.set(**nesting)
        for errback in as_list(request.errbacks) if step.subtask_type != "group" else ():
            step.append_to_list_option("link_error", errback)
    last = steps[-1]
    for callback in as_list(request.callbacks):
        last.append_to_list_option("link", callback)
    last.set(task_id=request.id)
    if request.chord:
        last.set(chord=request.chord, group_index=request.group_index)
        last["options"]["group_id"] = request.group
    for document in reversed(request.chain or ()):
        steps.append(Signature.from_dict(document, app).set(**nesting))
    whole = chain(app=app)
    whole["kwargs"]["tasks"] = steps
    return whole


def joined(app: TaskQ, request: Request, signature: Signature) -> Signature:
    """A signature as a further member of the chord that a task is in.

    Args:
        app: the task's app.
        request: the task.
        signature: the further member.

    Raises:
        ValueError: the task is in no chord.
        ImproperlyConfigured: the result store cannot add members.
    """
    place: Any = request.headers.get("chord_place")
    if not request.chord or not place:
        raise ValueError(
            f"{request.task}[{request.id}] is no member of a chord: there is none to add to"
        )
    group, index, _ = place
    # The same places and ids at every run of the task, so that none is added twice.
    number = request.joined
    request.joined += 1
    its_place = (index + 1) * _JOINED + number
    app.backend.extend_chord(group, its_place)
    member = signature.clone().set(
        chord=request.chord, group_index=its_place, root_id=request.root_id
    )
    member["options"]["group_id"] = group
    if member.subtask_type is None:
        step = f"joined-{request.replaced_task_nesting}-{number}"
        member.set(once=f"{request.run_key}:{step}")
        member["options"].setdefault("task_id", step_id(request.id or "", step))
    return member
