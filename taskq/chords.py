"""The task that sends a chord's body, when the last member has been settled."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from taskq import states
from taskq.canvas.call_data import as_list
from taskq.canvas.chord import CHORD_TASK
from taskq.canvas.plan import link_ids
from taskq.exceptions import ChordError, OperationalError
from taskq.execution.opening import Opener
from taskq.failure import ExceptionInfo, rebuild
from taskq.follow_ups import FollowUps
from taskq.group_result import GroupResult, result_from_tuple
from taskq.message import TaskMessage, unpack
from taskq.request import Request
from taskq.task import Task

logger = logging.getLogger("taskq.task")

_NESTED = 10.0
"""Seconds to wait for the stored results of members that have ended."""


class _ChordTask(Task[..., None]):
    """Runs in a worker like any other task, at least once; all that it sends has a key.

    It is repeated while the broker or the store is away.  Whatever else keeps what follows
    from being sent will not pass, and is how the chord has failed.
    """

    name = CHORD_TASK
    ignore_result = True
    max_retries = None
    autoretry_for = (OperationalError, OSError)
    default_retry_delay = 1

    def run(
        self,
        group: str,
        size: int,
        overdue: bool = False,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """Send what follows with the members' results, or tell who waits for it of an error.

        Args:
            group: the header's id.
            size: how many members there are.
            overdue: nobody waits for the rest of them any longer.
            body: what follows, if a sender of another kind sent it with the members.
        """
        backend = self.app.backend
        if not backend.claim_chord(group):
            logger.info("chord %s: its body has been sent before", group)
            return
        parts = backend.chord_parts(group)
        record = backend.chord_record(group)
        steps = self._steps(record, body)
        if not steps or (len(parts) < max(size, 1) and not overdue):
            logger.warning("chord %s: its body has been sent before", group)
            return
        try:
            messages = self._messages(group, steps, self._values(group, parts, size))
        except (OperationalError, OSError):
            raise
        except ChordError as error:
            self._fail(group, steps, error)
        except Exception as exc:
            logger.exception("chord %s: what follows cannot be sent", group)
            self._fail(group, steps, ChordError(f"what follows cannot be sent: {exc!r}"))
        else:
            self.app.producer.publish(messages)
        backend.forget_chord(group)

    def _steps(self, record: bytes | None, body: Mapping[str, Any] | None) -> list[Any]:
        """What follows, the last step first; nothing if it was sent before."""
        if record is None:
            return [body] if body else []
        opened = Opener(self.app, self.request.hostname).open(unpack(record), "", 1)
        return list(opened.chain or ())

    def _values(self, group: str, parts: Mapping[int, bytes], size: int) -> list[Any]:
        """The members' results, in their order.

        Raises:
            ChordError: one of them has failed, or has not ended.
            DecodeError: one cannot be read.
        """
        codec = self.app.result_codec
        values = []
        for index in sorted(parts):
            document = codec.decode_member(parts[index])
            if document["status"] != states.SUCCESS:
                cause = document["result"]
                what = rebuild(dict(cause)) if isinstance(cause, Mapping) else cause
                raise ChordError(f"Dependency {document['task_id']} raised {what!r}")
            values.append(document["result"])
        if len(values) < size:
            days = round(self.app.backend.chord_expires / 86400)
            raise ChordError(f"{len(values)} of {size} members have ended within {days} days")
        if self.app.backend.shares_chords:
            # Celery keeps which results belong together where groups are among the members.
            nested = self.app.restore_group(group)
            if nested is not None and any(isinstance(each, GroupResult) for each in nested):
                return list(nested.get(_NESTED, disable_sync_subtasks=False))
        return values

    def _messages(self, group: str, steps: list[Any], values: list[Any]) -> list[TaskMessage]:
        return FollowUps(self.app).of_chord(self.request, group, steps, values)

    def _fail(self, group: str, steps: list[Any], error: ChordError) -> None:
        """What follows fails as if it had been sent: to errbacks, results, and its own chord."""
        app, follow_ups = self.app, FollowUps(self.app)
        info = ExceptionInfo(error)
        ids = link_ids(steps[::-1])
        failed = Request(
            TaskMessage(_headers(steps, ids[0] if ids else self.request.id), b""),
            embed={"errbacks": _errbacks(steps[::-1])},
            queue=self.request.queue,
            hostname=self.request.hostname,
        )
        messages = follow_ups.of_failure(failed, error, info)
        for number, message in enumerate(messages):
            message.once = f"{group}:errback-{number}"
        if messages:
            app.producer.publish(messages)
        encode = app.result_codec.encode
        app.backend.store([encode(key, states.FAILURE, error, info.traceback) for key in ids])
        part = follow_ups.part(failed, states.FAILURE, error)
        if part is not None and (complete := app.backend.add_parts([part])):
            app.producer.publish([each.done for each in complete])


def _headers(steps: list[Any], task_id: str | None) -> dict[str, Any]:
    """Those of the message that would have been sent first, as far as anybody asks for them."""
    last, first = steps[0].get("options") or {}, steps[-1]
    size = (last.get("chord") or {}).get("chord_size")
    return {
        "id": task_id,
        "task": first["task"],
        "chord_place": [last.get("group_id"), last.get("group_index"), size],
    }


def _errbacks(steps: list[Any]) -> list[Any]:
    """The errbacks of the first step that has any, each once."""
    for step in steps:
        parts = [step]
        if step.get("subtask_type") == "group":
            parts += step["kwargs"]["tasks"]
        found: list[Any] = []
        for part in parts:
            linked = as_list((part.get("options") or {}).get("link_error"))
            found += [errback for errback in linked if errback not in found]
        if found:
            return found
    return []


class _ChordUnlock(_ChordTask):
    """Celery's way where the store does not count: it is repeated until all members have ended."""

    name = "celery.chord_unlock"

    def run(  # type: ignore[override]  # the arguments are Celery's
        self,
        group_id: str,
        callback: Mapping[str, Any],
        interval: float | None = None,
        max_retries: int | None = None,
        result: Sequence[Any] = (),
        **others: Any,
    ) -> None:
        """Send the body if all members have ended, and look again later if not.

        Args:
            group_id: the header's id.
            callback: the body.
            interval: seconds between two looks.
            max_retries: looks after which the chord fails; None looks for ever.
            result: the ids of the members, as `AsyncResult.as_tuple` tells them.
            others: what Celery tells its own workers.
        """
        members = [result_from_tuple(each, self.app) for each in result]
        if not all(member.ready() for member in members):
            if max_retries is None or self.request.retries < max_retries:
                raise self.retry(countdown=1 if interval is None else interval, max_retries=None)
            self._fail(group_id, [callback], ChordError("its members have not ended in time"))
            return
        try:
            values = [member.get(_NESTED, disable_sync_subtasks=False) for member in members]
        except (OperationalError, OSError):
            raise
        except Exception as exc:
            failed = next((str(each) for each in members if each.failed()), "one")
            self._fail(group_id, [callback], ChordError(f"Dependency {failed} raised {exc!r}"))
        else:
            self.app.producer.publish(self._messages(group_id, [callback], values))


def make_chord_unlock_task() -> Task[..., None]:
    """The task, for one app."""
    return _ChordUnlock()


def make_chord_task() -> Task[..., None]:
    """The task, for one app."""
    return _ChordTask()
