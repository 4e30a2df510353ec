"""The contract of a result store.

A store keeps bytes under task ids and tells whoever waits.  What the bytes mean is the
business of `taskq.result`; a store only knows the state's name, so that it never
overwrites SUCCESS (a task that ran twice has one result: the first), nor how a task has
ended by how far a run of it is that nobody waits for any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from taskq import states
from taskq.exceptions import ImproperlyConfigured
from taskq.message import TaskMessage


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What is kept of a task.

    Attributes:
        task_id: whose it is.
        state: one of `taskq.states`, or the task's own.
        payload: the encoded result document.
    """

    task_id: str
    state: str
    payload: bytes


class ChordPart(msgspec.Struct, array_like=True, gc=False):
    """What one member contributes to a chord, when it has ended.

    Attributes:
        group: the id of the chord's header.
        index: the member's place in it; a member counts once, however often it runs.
        size: how many members there are.
        payload: the member's encoded result document.
        done: the message to send when all members have ended; accepted a single time.
    """

    group: str
    index: int
    size: int
    payload: bytes
    done: TaskMessage


def supersedes(state: str, known: str) -> bool:
    """May an outcome in this state take the place of one in the state `known`?"""
    if known not in states.READY_STATES:
        return True
    return known != states.SUCCESS and state in states.READY_STATES


class Backend(ABC):
    """Where outcomes live.  All methods may be called from any thread.

    Args:
        expires: seconds that an outcome is kept; 0 keeps it for ever.
    """

    def __init__(self, expires: float = 86400.0) -> None:
        self.expires = expires

    @abstractmethod
    def store(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes and wake whoever waits for them; one round trip for all.

        What is there stays unless the new outcome `supersedes` it.

        Raises:
            OperationalError: the store cannot be reached; nothing was written.
        """

    @abstractmethod
    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        """Read outcomes; ids that are unknown or expired are absent from the answer."""

    @abstractmethod
    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        """Block until one of these tasks is in a ready state.

        Args:
            task_ids: the tasks to watch.
            timeout: seconds; None waits for ever.

        Returns:
            Those that are ready, or nothing when the time is over.
        """

    @abstractmethod
    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        """`wait` for code on an event loop."""

    async def afetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        """`fetch` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        return await asyncio.to_thread(self.fetch, task_ids)

    @abstractmethod
    def forget(self, task_ids: Sequence[str]) -> None:
        """Delete outcomes."""

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        """Keep what members of chords contribute, one by its group and index.

        Returns:
            Those of the parts whose chords are complete; again, if they are added again.

        Raises:
            ImproperlyConfigured: this store cannot count.
            OperationalError: the store cannot be reached.
        """
        raise ImproperlyConfigured(
            f"{type(self).__name__} cannot count the members of a chord: set result_backend to "
            "a store that can, such as redis:// or sqlite://"
        )

    def chord_parts(self, group: str) -> dict[int, bytes]:
        """What the members of a chord have contributed so far, by their places."""
        return {}

    def forget_parts(self, group: str) -> None:
        """Delete what the members of a chord have contributed."""

    @abstractmethod
    def cleanup(self) -> int:
        """Delete what has expired, and tell how many that were.

        Stores that expire by themselves have nothing to do here.
        """

    def close(self) -> None:
        """Let go of connections.  The store can be used again afterwards."""
