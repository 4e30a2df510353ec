"""What follows a task: callbacks, the next step of a chain, errbacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.backends.base import ChordPart, Outcome
from taskq.canvas import Signature, chain, chord, group
from taskq.canvas.chord import CHORD_TASK
from taskq.failure import ExceptionInfo
from taskq.message import TaskMessage, step_id
from taskq.producer import CallOptions, known_options
from taskq.request import Request

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.execution import Report

logger = logging.getLogger("taskq.task")


class FollowUps:
    """Builds the messages that must follow a task, to be settled with it.

    Args:
        app: whose tasks, settings and producer.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app

    def of_success(self, request: Request, value: Any) -> list[TaskMessage]:
        """The messages of callbacks and of the chain's next step."""
        if request.is_eager:
            return []
        messages: list[TaskMessage] = []
        for number, document in enumerate(request.callbacks or ()):
            messages += self._step(request, f"callback-{number}", document, (value,))
        if request.chain:
            *rest, following = request.chain
            messages += self._step(request, "chain", following, (value,), rest)
        if request.retry_message is not None:  # retry(throw=False), and then it returned
            messages.append(request.retry_message)
        return messages

    def _step(
        self,
        request: Request,
        step: str,
        document: Mapping[str, Any],
        args: tuple[Any, ...],
        rest: list[Any] | None = None,
    ) -> list[TaskMessage]:
        """The messages of one step: one, but for groups and chords.

        Args:
            request: what is followed.
            step: names the step within it.
            document: the signature.
            args: what it is given.
            rest: the steps after it, in reverse.
        """
        signature = Signature.from_dict(document, self._app)
        if signature.subtask_type is not None and rest:
            signature, rest = chain(signature, *reversed(rest), app=self._app), None
        if isinstance(signature, chain):
            signature = signature.begins_with_many({}) or signature
        if isinstance(signature, group | chord):
            return self._members(request, step, signature, args)
        if isinstance(signature, chain):
            signature, _ = signature.call(args)
            args = ()
        return [self._message(request, step, signature, args, rest)]

    def _members(
        self, request: Request, step: str, signature: group | chord, args: tuple[Any, ...]
    ) -> list[TaskMessage]:
        """The messages of a group or a chord, the same for every execution of what it follows."""
        group_id = step_id(request.id or "", step)
        if isinstance(signature, chord):
            calls, body = signature.calls(args, options={"group_id": group_id})
            if not calls:
                return self._step(request, step, body, ([],))
        else:
            calls = signature.calls(args, options={"group_id": signature.id or group_id})
        plain = [
            part for call in calls for part in (call.plan()[0] if call.subtask_type else [call])
        ]
        return [
            self._message(request, f"{step}-{number}", call, ())
            for number, call in enumerate(plain)
        ]

    def of_chord(
        self, request: Request, header: str, body: Mapping[str, Any], args: tuple[Any, ...]
    ) -> list[TaskMessage]:
        """The messages of a chord's body, accepted once however often they are sent.

        Args:
            request: the task that sends them.
            header: the id of the chord's header.
            body: the body's signature.
            args: what the body is given.
        """
        messages = self._step(request, "body", body, args)
        for number, message in enumerate(messages):
            message.once = f"{header}:body-{number}"
        return messages

    def _message(
        self,
        request: Request,
        step: str,
        signature: Signature,
        args: tuple[Any, ...],
        rest: list[Any] | None = None,
    ) -> TaskMessage:
        all_args, kwargs, merged = signature.merge(args)
        options = known_options(merged)
        options.setdefault("task_id", step_id(request.id or "", step))
        options["root_id"] = request.root_id
        options["parent_id"] = request.id
        options["once"] = f"{request.id}:{request.retries}:{step}"
        if rest:
            # In reverse: the steps of a chain within the chain come before the rest of it.
            options["chain"] = [*rest, *(options.get("chain") or ())]
        task = self._app.tasks.get(signature.task)
        return self._app.producer.build(signature.task, all_args, kwargs, options, task)

    def part(self, request: Request, state: str, value: Any) -> ChordPart | None:
        """What a member contributes to its chord; None if it is no member of one that counts.

        Of a chain the last step is the member; one that ends before is counted in its place.
        """
        place: Mapping[str, Any] | None = {
            "chord": request.chord,
            "group_id": request.group,
            "group_index": request.group_index,
        }
        if not request.chord:
            place = _place(request.chain[0]) if request.chain else None
        if request.is_eager or place is None:
            return None
        document = place.get("chord")
        header, index = place.get("group_id"), place.get("group_index")
        if header is None or index is None or not isinstance(document, Mapping):
            return None
        size = document.get("chord_size")
        if not isinstance(size, int):
            return None
        outcome = self._app.result_codec.encode(request.id or "", state, value)
        options: CallOptions = {
            "task_id": step_id(header, "chord"),
            "queue": request.queue or None,
            "once": f"{header}:chord",
            "ignore_result": True,
            "root_id": request.root_id,
        }
        task = self._app.tasks[CHORD_TASK]
        done = self._app.producer.build(
            CHORD_TASK, (header, size, dict(document)), {}, options, task
        )
        # To the member's own queue: this worker consumes it, and it is counted in one step there.
        done.exchange, done.routing_key = "", request.queue
        return ChordPart(header, index, size, outcome.payload, done)

    def tell_failure(
        self,
        report: Report,
        request: Request,
        exc: BaseException,
        info: ExceptionInfo,
        errbacks: bool = True,
    ) -> None:
        """Add to a report all that must follow a failure.

        Args:
            report: gets it.
            request: what has failed.
            exc: why.
            info: the same, for those that read it.
            errbacks: call or send the errbacks as well.
        """
        if request.chain:
            report.never_run = self.never_run(request, exc, info.traceback)
        if request.errbacks and errbacks:
            report.follow_ups = self.of_failure(request, exc, info)
        if request.chord or request.chain:
            report.part = self.part(request, states.FAILURE, exc)

    def never_run(self, request: Request, exc: BaseException, traceback: str) -> list[Outcome]:
        """Whoever waits for a later step of the chain gets the error of this one, as in Celery."""
        codec = self._app.result_codec
        ids = [key for step in request.chain or () for key in _result_ids(step)]
        return [codec.encode(key, states.FAILURE, exc, traceback) for key in ids]

    def of_failure(
        self, request: Request, exc: BaseException, info: ExceptionInfo
    ) -> list[TaskMessage]:
        """Call or send what was linked as errback.

        As in Celery, one that is known here and takes several arguments is called at once
        with (request, exc, traceback); others are sent with the id of the failed task.
        """
        messages: list[TaskMessage] = []
        for number, document in enumerate(request.errbacks or ()):
            try:
                signature = Signature.from_dict(document, self._app)
                task = self._app.tasks.get(signature.task)
                if task is not None and not signature.immutable and task.takes_several():
                    args, kwargs, _ = signature.merge((request, exc, info.traceback))
                    task.run(*args, **kwargs)
                elif request.is_eager:
                    signature.apply((request.id,))
                else:
                    step = f"errback-{number}"
                    messages += self._step(request, step, document, (request.id,))
            except Exception:
                logger.exception(
                    "errback %s of task %s[%s] failed", document, request.task, request.id
                )
        return messages


def check_steps(embed: dict[str, Any]) -> None:
    """Raise TypeError if what shall follow a task never can.

    One errback that cannot be sent is no reason not to run the task, and is not looked at.
    """
    for name in ("callbacks", "errbacks", "chain"):
        steps = embed.get(name)
        if steps is None:
            continue
        if type(steps) is not list or not (name == "errbacks" or all(map(_is_signature, steps))):
            raise TypeError(f"{name} must be a list of signatures")


def _result_ids(document: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the results that a signature would have had."""
    inner = document.get("kwargs") or {}
    kind = document.get("subtask_type")
    if kind == "group":
        for member in inner["tasks"]:
            yield from _result_ids(member)
    elif kind == "chain":
        yield from _result_ids(inner["tasks"][-1])
    elif kind == "chord" and inner["body"]["subtask_type"]:
        yield from _result_ids(inner["body"])
    elif task_id := (document.get("options") or {}).get("task_id"):
        yield task_id


def _place(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The options that say which member of which chord a signature is; None if it is none."""
    inner = document.get("kwargs") or {}
    kind = document.get("subtask_type")
    if kind == "chain":
        return _place(inner["tasks"][-1])
    if kind == "chord":
        return _place(inner["body"])
    options: Mapping[str, Any] = document.get("options") or {}
    return options if options.get("chord") and kind != "group" else None


def _is_signature(step: Any) -> bool:
    return (
        type(step) is dict
        and isinstance(step.get("task"), str)
        and isinstance(step.get("options", {}), dict)
    )
