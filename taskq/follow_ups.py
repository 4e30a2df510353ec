"""What follows a task: callbacks, the next step of a chain, errbacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.backends.base import ChordPart, Outcome
from taskq.canvas import Signature, chain
from taskq.canvas.chord import CHORD_TASK, SHARED_CHORDS_QUEUE
from taskq.canvas.plan import link_ids, make_plan
from taskq.canvas.steps import COMPOSITE
from taskq.chord_records import keep_chords
from taskq.encoded_steps import EncodedSteps
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
        self._last_done: tuple[Any, Any] = (None, None)

    def of_success(self, request: Request, value: Any) -> list[TaskMessage]:
        """The messages of callbacks and of the chain's next step."""
        if request.is_eager:
            return []
        messages: list[TaskMessage] = []
        for number, document in enumerate(request.callbacks or ()):
            messages += self._step(request, f"callback-{number}", document, (value,))
        if request.chain:
            rest, following = _next_of(request.chain)
            messages += self._step(request, "chain", following, (value,), rest)
        if request.retry_message is not None:  # retry(throw=False), and then it returned
            messages.append(request.retry_message)
        return messages

    def of_replacement(self, request: Request) -> list[TaskMessage]:
        """The messages of what takes a task's place."""
        step = f"replacement-{request.replaced_task_nesting}"
        return self._step(request, step, request.replacement, ())

    def of_chord(
        self, request: Request, group: str, steps: list[Any], values: list[Any]
    ) -> list[TaskMessage]:
        """The messages of what follows a chord, accepted once however often they are sent.

        Args:
            request: the task that sends them.
            group: the id of the chord's header.
            steps: what follows, the last step first.
            values: the members' results.
        """
        *rest, following = steps
        messages = self._step(request, "body", following, (values,), rest)
        for number, message in enumerate(messages):
            message.once = f"{group}:body-{number}"
        return messages

    def _step(
        self,
        request: Request,
        step: str,
        document: Mapping[str, Any],
        args: tuple[Any, ...],
        rest: Sequence[Any] | None = None,
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
        if signature.subtask_type not in COMPOSITE:
            message = self._message(request, step, signature, args, rest)
            if request.trail:
                request.children.append(self._app.AsyncResult(message.id, message.task))
            return [message]
        ids = (step_id(request.id or "", f"{step}-{number}") for number in count())
        whole: Signature = signature
        if rest:
            whole = chain(app=self._app)
            whole["kwargs"]["tasks"] = [signature, *reversed(rest)]
        plan = make_plan(whole, args, make_id=lambda: next(ids))
        if not plan.calls:
            return []
        if request.trail:
            request.children.append(plan.begun)
        keep_chords(self._app, plan.chords, request.root_id)
        return [
            self._message(request, f"{step}-{number}", call, (), call["options"].get("chain"))
            for number, call in enumerate(plan.calls)
        ]

    def _message(
        self,
        request: Request,
        step: str,
        signature: Signature,
        args: tuple[Any, ...],
        rest: Sequence[Any] | None = None,
    ) -> TaskMessage:
        all_args, kwargs, merged = signature.merge(args)
        options = known_options(merged)
        options.setdefault("task_id", step_id(request.id or "", step))
        options.setdefault("reply_to", request.reply_to)  # of whoever has sent the first step
        options["root_id"] = request.root_id
        options["parent_id"] = request.id
        options["once"] = f"{request.run_key}:{step}"
        if rest:
            # In reverse: the steps of a chain within the chain come before the rest of it.
            own = options.get("chain")
            options["chain"] = rest if own is None or own is rest else [*rest, *own]
        task = self._app.tasks.get(signature.task)
        return self._app.producer.build(signature.task, all_args, kwargs, options, task)

    def part(
        self, request: Request, state: str, value: Any, outcome: Outcome | None = None
    ) -> ChordPart | None:
        """What a member contributes to its chord; None if it is no member of one that counts.

        Of a chain the last step is the member; one that ends before is counted in its place.

        Args:
            request: the member.
            state: how it ended.
            value: with what.
            outcome: the same, if that is encoded already.
        """
        if request.is_eager or request.message is None:
            return None
        if self._app.conf.celery_interop and self._app.backend.shares_chords:
            return self._shared_part(request, state, value)
        return self.part_of(request.message, request.queue, state, value, request.chord, outcome)

    def _shared_part(self, request: Request, state: str, value: Any) -> ChordPart | None:
        """`part` of a chord whose members run with Celery's workers as well.

        Celery says of each member where it belongs; of a chain, with its last step.
        """
        body, task_id = request.chord, request.id or ""
        group, index = request.group, request.group_index
        if not body and request.chain:
            last = last_options(request.chain[0])
            body, task_id = last.get("chord"), last.get("task_id") or task_id
            group, index = last.get("group_id"), last.get("group_index")
        if not isinstance(body, Mapping) or type(group) is not str or type(index) is not int:
            return None
        size = body.get("chord_size")
        size = size if type(size) is int else 0
        place = [group, index, size]
        payload = self._app.result_codec.encode_member(task_id, state, value)
        done = self.done(place, SHARED_CHORDS_QUEUE, body)
        return ChordPart(group, index, size, payload, done, task_id)

    def part_of(
        self,
        message: TaskMessage,
        queue: str,
        state: str,
        value: Any,
        body: Any = None,
        outcome: Outcome | None = None,
    ) -> ChordPart | None:
        """`part` of a message, by its headers.

        Args:
            message: the member.
            queue: where it was taken from.
            state: how it ended.
            value: with what.
            body: the body that came with it, where a sender of another kind puts it there.
            outcome: how it ended, if that is encoded already.
        """
        place: Any = message.headers.get("chord_place")
        if place is None and isinstance(body, Mapping):
            headers = message.headers
            place = [headers.get("group"), headers.get("group_index"), body.get("chord_size")]
        if place is None or not is_place(place):
            return None
        header, index, size = place
        if self._app.conf.celery_interop and self._app.backend.shares_chords:
            payload = self._app.result_codec.encode_member(message.id, state, value)
            done = self.done(place, SHARED_CHORDS_QUEUE, body)
            return ChordPart(header, index, size, payload, done, message.id)
        if outcome is None:
            outcome = self._app.result_codec.encode(message.id, state, value)
        by_value = isinstance(body, Mapping) and body.get("task") != CHORD_TASK
        if by_value:
            done = self.done(place, queue, body)
        else:
            # Members of one chord come one after the other, and it is the same for all of them.
            key = (header, size, queue)
            if self._last_done[0] != key:
                self._last_done = (key, self.done(place, queue))
            done = self._last_done[1]
        return ChordPart(header, index, size, outcome.payload, done)

    def done(
        self,
        place: list[Any],
        queue: str,
        body: Any = None,
        once: str | None = None,
        overdue: bool = False,
    ) -> TaskMessage:
        """The message to send when all members of a chord have ended.

        Args:
            place: the place of one of them.
            queue: where to send it: a queue that is consumed.
            body: what follows, if that is not kept in the store.
            once: the key under which it is accepted a single time.
            overdue: nobody waits for the rest of the members any longer.
        """
        header, _, size = place
        options: CallOptions = {
            "task_id": step_id(header, "chord"),
            "once": once or f"{header}:chord",
            "ignore_result": True,
        }
        task = self._app.tasks[CHORD_TASK]
        kwargs: dict[str, Any] = {"overdue": True} if overdue else {}
        if isinstance(body, Mapping) and body.get("task") != CHORD_TASK:
            # Not as what follows in a chain: that would follow this task as well.
            kwargs["body"] = dict(body)
        done = self._app.producer.build(CHORD_TASK, (header, size), kwargs, options, task)
        # To the member's own queue: this worker consumes it, and it is counted in one step there.
        done.exchange, done.routing_key = "", queue
        return done

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
        report.part = self.part(request, states.FAILURE, exc)

    def never_run(self, request: Request, exc: BaseException, traceback: str) -> list[Outcome]:
        """Whoever waits for a later step of the chain gets the error of this one, as in Celery."""
        codec = self._app.result_codec
        ids = link_ids(request.chain or ())
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


def _next_of(steps: Any) -> tuple[Any, Any]:
    """All but the next step, and the next step: the last one."""
    if isinstance(steps, EncodedSteps):
        return steps.split()
    *rest, following = steps
    return rest, following


def check_steps(embed: dict[str, Any]) -> None:
    """Raise TypeError if what shall follow a task never can.

    One errback that cannot be sent is no reason not to run the task, and is not looked at.
    """
    for name in ("callbacks", "errbacks", "chain"):
        steps = embed.get(name)
        if steps is None:
            continue
        if isinstance(steps, EncodedSteps):  # the others are looked at when they are the next
            steps = [steps[0], steps[-1]]
        if type(steps) is not list or not (name == "errbacks" or all(map(_is_signature, steps))):
            raise TypeError(f"{name} must be a list of signatures")


def last_options(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of the task that a step of a chain ends with."""
    while (kind := step.get("subtask_type")) in ("chain", "chord"):
        inner = step.get("kwargs") or {}
        step = inner["tasks"][-1] if kind == "chain" else inner["body"]
    return step.get("options") or {}


def is_place(place: Any) -> bool:
    """Is it a place in a chord: the header's id, the place and the size?"""
    return (
        isinstance(place, list)
        and [type(value) for value in place] == [str, int, int]
        and place[1] >= 0
        and place[2] > 0
    )


def _is_signature(step: Any) -> bool:
    return (
        type(step) is dict
        and isinstance(step.get("task"), str)
        and isinstance(step.get("options", {}), dict)
    )
