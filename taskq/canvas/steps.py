"""The normal form of a workflow: one list of steps, each a task or a group.

``chain``, ``chord`` and their nestings all mean the same: one step after the other, and a
group hands the list of its results to the step that follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from taskq.canvas.call_data import as_list
from taskq.canvas.signature import Signature

COMPOSITE = frozenset({"chain", "chord", "group", "chunks"})
"""The kinds of signatures that are no task's."""
_OF_FIRST = ("countdown", "eta")
_OF_LAST = ("task_id", "group_id", "group_index", "chord")
_OF_CHORD = ("header", "body", "kwargs")


def steps_of(signature: Signature, options: Mapping[str, Any]) -> list[Signature]:
    """The same work as a flat list of tasks and groups; copies, each with its options.

    What is said of a whole goes to its parts: the id, the callbacks and the place in a
    group to the last step, when to start to the first one, and errbacks to every one, but
    for a group that something follows, since that fails with it.  All other options hold
    for every step that has none of that name.

    Args:
        signature: a signature of any kind.
        options: all its options.
    """
    found: list[Signature] = []
    errors: list[Sequence[Any]] = []
    # A stack of its own, since there is no limit to how deep a workflow may be nested.
    pending = [_Part(signature, options)]
    while pending:
        part = pending.pop()
        one, kind = part.signature, part.signature.subtask_type
        if kind == "chain":
            pending += reversed(_spread(_parts_of_chain(one), part))
        elif kind == "chord":
            pending += reversed(_spread(*_parts_of_chord(part)))
        else:
            step = _group_of(one) if kind == "chunks" else one.clone()
            step["options"] = dict(part.options)
            step._app = step._app or signature._app
            found.append(step)
            errors.append(part.errors)
    for number, step in enumerate(found, 1):
        if step.subtask_type != "group" or number == len(found):
            _extend(step["options"], "link_error", errors[number - 1])
    return found


class _Part(NamedTuple):
    """A part of the workflow: with all its options, and the errbacks that it has from the whole."""

    signature: Signature
    options: Mapping[str, Any]
    errors: Sequence[Any] = ()


def _group_of(signature: Any) -> Signature:
    group: Signature = signature.group()
    return group


def _parts_of_chain(signature: Any) -> list[Signature]:
    parts: list[Signature] = signature.tasks
    if parts and (signature["args"] or len(signature["kwargs"]) > 1):
        given = {k: v for k, v in signature["kwargs"].items() if k != "tasks"}
        parts[0] = parts[0].clone(signature["args"], given)
    return parts


def _parts_of_chord(part: _Part) -> tuple[list[Signature], _Part]:
    signature: Any = part.signature
    body = signature.body
    if body is None:
        raise ValueError("a chord needs a body: chord(header)(body), or chord(header, body)")
    header = signature.header
    options = part.options
    if "group_id" in options and "group_index" not in options:
        # Not its place in another group, but the name of its own.
        header = header.clone(task_id=options["group_id"])
        part = part._replace(options={k: v for k, v in options.items() if k != "group_id"})
    if body.id is not None and part.options.get("task_id") in _ids_of(header):
        # Celery's chords are called as their headers are, and their bodies by their own names.
        part = part._replace(options={k: v for k, v in part.options.items() if k != "task_id"})
    given = {k: v for k, v in signature["kwargs"].items() if k not in _OF_CHORD}
    if signature["args"] or given:
        header = header.clone(signature["args"], given)
    return [header, body], part


def _ids_of(header: Any) -> set[str | None]:
    """What a header is called, by itself and by its members."""
    return {header.id, *(member["options"].get("group_id") for member in header.tasks)} - {None}


def _spread(parts: Sequence[Signature], whole: _Part) -> list[_Part]:
    """Each part with its options, which it has in part from the whole."""
    if not whole.options and not whole.errors:
        return [_Part(part, part["options"]) for part in parts]
    rest = dict(whole.options)
    first = {name: rest.pop(name) for name in _OF_FIRST if name in rest}
    last = {name: rest.pop(name) for name in _OF_LAST if name in rest}
    links = as_list(rest.pop("link", None))
    errors = [*as_list(rest.pop("link_error", None)), *whole.errors]
    found = []
    for number, part in enumerate(parts, 1):
        options = {**rest, **first, **part["options"]}
        first = {}
        if number == len(parts):
            options.update(last)
            _extend(options, "link", links)
        found.append(_Part(part, options, errors))
    return found


def _extend(options: dict[str, Any], name: str, signatures: Sequence[Any]) -> None:
    if signatures:
        known = as_list(options.get(name))
        options[name] = [*known, *(each for each in signatures if each not in known)]


def of_member(
    member: Signature, whole: Mapping[str, Any], place: Mapping[str, Any]
) -> dict[str, Any]:
    """All options of a group's member.

    Args:
        member: the member.
        whole: the group's options.
        place: its place in the group.
    """
    rest = {key: value for key, value in whole.items() if key not in _OF_LAST}
    links, errors = as_list(rest.pop("link", None)), as_list(rest.pop("link_error", None))
    options = {**rest, **member["options"], **place}
    _extend(options, "link", links)
    _extend(options, "link_error", errors)
    return options
