"""What follows a task: callbacks, the next step of a chain, errbacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.backends.base import Outcome
from taskq.canvas import Signature, chain
from taskq.failure import ExceptionInfo
from taskq.message import TaskMessage, step_id
from taskq.producer import known_options
from taskq.request import Request

if TYPE_CHECKING:
    from taskq.app import TaskQ

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
        messages = [
            self._step(request, f"callback-{number}", document, (value,))
            for number, document in enumerate(request.callbacks or ())
        ]
        if request.chain:
            *rest, following = request.chain
            messages.append(self._step(request, "chain", following, (value,), rest))
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
    ) -> TaskMessage:
        signature = Signature.from_dict(document, self._app)
        if isinstance(signature, chain):
            signature, _ = signature.call(args)
            args = ()
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

    def never_run(self, request: Request, exc: BaseException, traceback: str) -> list[Outcome]:
        """Whoever waits for a later step of the chain gets the error of this one, as in Celery."""
        codec = self._app.result_codec
        ids = [step.get("options", {}).get("task_id") for step in request.chain or ()]
        return [codec.encode(key, states.FAILURE, exc, traceback) for key in ids if key]

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
                    messages.append(self._step(request, step, document, (request.id,)))
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


def _is_signature(step: Any) -> bool:
    return (
        type(step) is dict
        and isinstance(step.get("task"), str)
        and isinstance(step.get("options", {}), dict)
    )
