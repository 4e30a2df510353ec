"""The normal form of a workflow: one list of steps, each a task or a group.

``chain``, ``chord`` and their nestings all mean the same: one step after the other, and a
group hands the list of its results to the step that follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskq.canvas.signature import Signature, as_list

COMPOSITE = frozenset({"chain", "chord", "group", "chunks"})
"""The kinds of signatures that are no task's."""
_OF_FIRST = ("countdown", "eta")
_OF_LAST = ("task_id", "group_id", "group_index", "chord")


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
    # A stack of its own, since there is no limit to how deep a workflow may be nested.
    pending: list[tuple[Signature, Mapping[str, Any]]] = [(signature, options)]
    while pending:
        one, whole = pending.pop()
        kind: Any = one
        if one.subtask_type == "chain":
            parts = kind.tasks
            if parts and (one["args"] or len(one["kwargs"]) > 1):
                given = {k: v for k, v in one["kwargs"].items() if k != "tasks"}
                parts[0] = parts[0].clone(one["args"], given)
            pending += reversed(_spread(parts, whole))
        elif one.subtask_type == "chord":
            pending += reversed(_spread_chord(kind, whole))
        else:
            step = kind.group() if one.subtask_type == "chunks" else one.clone()
            step["options"] = dict(whole)
            step._app = step._app or signature._app
            found.append(step)
    return found


def _spread_chord(
    signature: Any, whole: Mapping[str, Any]
) -> list[tuple[Signature, dict[str, Any]]]:
    body = signature.body
    if body is None:
        raise ValueError("a chord needs a body: chord(header)(body), or chord(header, body)")
    header = signature.header
    if "group_id" in whole and "group_index" not in whole:
        # Not its place in another group, but the name of its own.
        header = header.clone(task_id=whole["group_id"])
        whole = {key: value for key, value in whole.items() if key != "group_id"}
    given = {k: v for k, v in signature["kwargs"].items() if k not in ("header", "body")}
    given.pop("kwargs", None)
    if signature["args"] or given:
        header = header.clone(signature["args"], given)
    return _spread([header, body], whole)


def _spread(
    parts: Sequence[Signature], whole: Mapping[str, Any]
) -> list[tuple[Signature, dict[str, Any]]]:
    """Each part with its options, which it has in part from the whole."""
    if not whole:
        return [(part, part["options"]) for part in parts]
    rest = dict(whole)
    first = {name: rest.pop(name) for name in _OF_FIRST if name in rest}
    last = {name: rest.pop(name) for name in _OF_LAST if name in rest}
    links = as_list(rest.pop("link", None))
    errors = as_list(rest.pop("link_error", None))
    found = []
    for number, part in enumerate(parts, 1):
        options = {**rest, **first, **part["options"]}
        first = {}
        if number == len(parts):
            options.update(last)
            _extend(options, "link", links)
            _extend(options, "link_error", errors)
        elif part.subtask_type not in ("group", "chunks"):
            _extend(options, "link_error", errors)
        found.append((part, options))
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
