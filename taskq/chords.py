"""The task that sends a chord's body, when the last member has been settled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taskq import states
from taskq.backends.base import ChordPart, Outcome
from taskq.canvas.chord import CHORD_TASK
from taskq.exceptions import ChordError
from taskq.execution import Sentence, TaskRunner
from taskq.failure import ExceptionInfo, rebuild
from taskq.follow_ups import FollowUps
from taskq.message import TaskMessage
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
            results = [document["result"] for document in documents]
            self.app.producer.publish(self._messages(group, body, (results,)))
        backend.forget_parts(group)

    def _messages(
        self, group: str, body: Mapping[str, Any], args: tuple[Any, ...]
    ) -> list[TaskMessage]:
        return FollowUps(self.app).of_chord(self.request, group, body, args)

    def _tell_failure(self, group: str, body: Mapping[str, Any], member: Mapping[str, Any]) -> None:
        """The body fails as if it had been sent: to its errbacks, its chain and its own chord."""
        cause = member["result"]
        what = rebuild(dict(cause)) if isinstance(cause, Mapping) else cause
        error = ChordError(f"Dependency {member['task_id']} raised {what!r}")
        traceback = ExceptionInfo(error).traceback
        sentence = Sentence(states.FAILURE, "ChordError", str(error))
        app, runner = self.app, TaskRunner(self.app)
        messages: list[TaskMessage] = []
        outcomes: list[Outcome] = []
        parts: list[ChordPart] = []
        for message in self._messages(group, body, ()):
            report = runner.pronounce(0, message, self.request.queue, sentence)
            messages += report.follow_ups
            outcome = app.result_codec.encode(
                message.id, states.FAILURE, error, traceback, message.headers
            )
            outcomes += [outcome, *report.never_run]
            if report.part is not None:
                parts.append(report.part)
        if messages:
            app.producer.publish(messages)
        app.backend.store(outcomes)
        if parts and (complete := app.backend.add_parts(parts)):
            app.producer.publish([part.done for part in complete])


def make_chord_task() -> Task[..., None]:
    """The task, for one app."""
    return _ChordTask()
