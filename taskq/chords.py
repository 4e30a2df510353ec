"""The task that sends a chord's body, when the last member has been settled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taskq import states
from taskq.backends.base import Outcome
from taskq.canvas import Signature, chain
from taskq.canvas.chord import CHORD_TASK
from taskq.canvas.signature import as_list
from taskq.exceptions import ChordError
from taskq.failure import ExceptionInfo, rebuild
from taskq.message import TaskMessage
from taskq.producer import known_options
from taskq.task import Task

logger = logging.getLogger("taskq.task")


class _ChordTask(Task[..., None]):
    """Runs in a worker like any other task, at least once; all that it sends has a key."""

    name = CHORD_TASK
    ignore_result = True
    max_retries = None
    autoretry_for = (Exception,)
    default_retry_delay = 1

    def run(self, group: str, size: int, body: Mapping[str, Any]) -> None:
        """Send the body with the members' results, or tell who waits for it of an error.

        Args:
            group: the header's id.
            size: how many members there are.
            body: the body's signature, as a document.
        """
        backend = self.app.backend
        parts = backend.chord_parts(group)
        if len(parts) < size:
            logger.warning("chord %s: its body has been sent before", group)
            return
        codec = self.app.result_codec
        documents = [
            codec.decode(Outcome("", states.SUCCESS, parts[index])) for index in sorted(parts)
        ]
        failed = [d for d in documents if d["status"] != states.SUCCESS]
        if failed:
            self._tell_failure(group, body, failed[0])
        else:
            self._send_body(group, body, [document["result"] for document in documents])
        backend.forget_parts(group)

    def _send_body(self, group: str, body: Mapping[str, Any], results: list[Any]) -> None:
        self.app.producer.publish([self._message(group, "body", body, (results,))])

    def _tell_failure(self, group: str, body: Mapping[str, Any], member: Mapping[str, Any]) -> None:
        cause = member["result"]
        what = rebuild(dict(cause)) if isinstance(cause, Mapping) else cause
        error = ChordError(f"Dependency {member['task_id']} raised {what!r}")
        body_id = (body.get("options") or {}).get("task_id")
        info = ExceptionInfo(error)
        errbacks = as_list((body.get("options") or {}).get("link_error"))
        messages = [
            self._message(group, f"errback-{number}", errback, (body_id,))
            for number, errback in enumerate(errbacks)
        ]
        if messages:
            self.app.producer.publish(messages)
        if body_id:
            outcome = self.app.result_codec.encode(body_id, states.FAILURE, error, info.traceback)
            self.app.backend.store([outcome])

    def _message(
        self, group: str, step: str, document: Mapping[str, Any], args: tuple[Any, ...]
    ) -> TaskMessage:
        signature = Signature.from_dict(document, self.app)
        if isinstance(signature, chain):
            signature, _ = signature.call(args)
            args = ()
        all_args, kwargs, merged = signature.merge(args)
        options = known_options(merged)
        options["once"] = f"{group}:{step}"
        options.setdefault("root_id", self.request.root_id)
        options.setdefault("parent_id", self.request.id)
        task = self.app.tasks.get(signature.task)
        return self.app.producer.build(signature.task, all_args, kwargs, options, task)


def make_chord_task() -> Task[..., None]:
    """The task, for one app."""
    return _ChordTask()
