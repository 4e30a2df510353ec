"""What came of one execution, and what is decided without one."""

from __future__ import annotations

import msgspec

from taskq.backends.base import ChordPart, Outcome
from taskq.brokers.base import Fate
from taskq.message import TaskMessage


class Report(msgspec.Struct, array_like=True, gc=False):
    """What came of one execution, on its way from a child to the worker's parent.

    Attributes:
        ticket: the caller's number for it.
        fate: what becomes of the message.
        state: how it ended.
        runtime: seconds.
        outcome: what the result store is to keep.
        follow_ups: messages that must follow.
        text: the result or the exception, for the log.
        traceback: for the log; None where it is no surprise.
        reason: why it is a dead letter, if it is one.
        never_run: outcomes of the chain's further steps, which will not run.
        part: what it contributes to the chord that it is a member of.
    """

    ticket: int
    fate: Fate
    state: str
    runtime: float = 0.0
    outcome: Outcome | None = None
    follow_ups: list[TaskMessage] = []
    text: str = ""
    traceback: str | None = None
    reason: str = ""
    never_run: list[Outcome] = []
    part: ChordPart | None = None


class Sentence(msgspec.Struct, array_like=True, gc=False):
    """How a task has ended that no code of its own could end.

    Attributes:
        state: FAILURE or REVOKED.
        error: the name of one of `taskq.exceptions`.
        text: what it says.
        quiet: its errbacks are not called, for a process has died while they were.
    """

    state: str
    error: str
    text: str
    quiet: bool = False
