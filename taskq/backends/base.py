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

CHORD_EXPIRES = 30 * 86400.0
"""Seconds that a chord may take at least, however soon results expire."""


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What is kept of a task.

    Attributes:
        task_id: whose it is.
        state: one of `taskq.states`, or the task's own.
        payload: the encoded result document.
        reply_to: where it is sent, by a store that is `Backend.addressed`.
    """

    task_id: str
    state: str
    payload: bytes
    reply_to: str | None = None


class ChordPart(msgspec.Struct, array_like=True, gc=False):
    """What one member contributes to a chord, when it has ended.

    Attributes:
        group: the id of the chord's header.
        index: the member's place in it; a member counts once, however often it runs.
        size: how many members there are.
        payload: the member's encoded result document.
        done: the message to send when all members have ended; accepted a single time.
        task_id: the member's.
    """

    group: str
    index: int
    size: int
    payload: bytes
    done: TaskMessage
    task_id: str = ""


class ChordRecord(msgspec.Struct, array_like=True, gc=False):
    """What follows a chord, kept until all its members have ended.

    Attributes:
        group: the id of the chord's header.
        payload: the packed message of the task that sends what follows.
        count: how many members have ended, as far as a store has counted them; less those
            that joined later, so that it is to be compared with the size of the header.
        size: of the header.
    """

    group: str
    payload: bytes
    count: int = 0
    size: int = 0


def supersedes(state: str, known: str) -> bool:
    """May an outcome in this state take the place of one in the state `known`?"""
    if known not in states.READY_STATES:
        return True
    return known != states.SUCCESS and state in states.READY_STATES


def latest(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of each task the one that counts, in the order in which they were given."""
    counting: dict[str, Outcome] = {}
    for outcome in outcomes:
        known = counting.get(outcome.task_id)
        if known is None or supersedes(outcome.state, known.state):
            counting[outcome.task_id] = outcome
    return list(counting.values())


class Backend(ABC):
    """Where outcomes live.  All methods may be called from any thread.

    Args:
        expires: seconds that an outcome is kept; 0 keeps it for ever.
    """

    addressed = False
    """Outcomes are sent to an address, `Outcome.reply_to`, in place of being kept for all."""
    remembers = True
    """Is what is stored known to all workers afterwards?"""
    shares_chords = False
    """Are chords counted together with workers of Celery's?"""

    def __init__(self, expires: float = 86400.0) -> None:
        self.expires = expires

    @property
    def reply_to(self) -> str | None:
        """The address of this process, for the messages that it sends; None has none."""
        return None

    def expect(self) -> None:
        """Be ready for what is sent to `reply_to`; called before messages with it are sent.

        Raises:
            OperationalError: the store cannot be reached.
        """

    async def aexpect(self) -> None:
        """`expect` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        await asyncio.to_thread(self.expect)

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

    @property
    def counts(self) -> bool:
        """Can it count the members of chords?"""
        return type(self).add_parts is not Backend.add_parts

    @property
    def chord_expires(self) -> float:
        """Seconds that what is known of an unfinished chord is kept; 0 keeps it for ever."""
        return max(self.expires, CHORD_EXPIRES) if self.expires else 0.0

    def chord_parts(self, group: str) -> dict[int, bytes]:
        """What the members of a chord have contributed so far, by their places."""
        return {}

    def forget_parts(self, group: str) -> None:
        """Delete what the members of a chord have contributed."""

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        """Keep what follows chords, before their members are sent; of two the first counts.

        Raises:
            ImproperlyConfigured: this store cannot count.
            OperationalError: the store cannot be reached.
        """
        if not self.counts:
            self.add_parts(())
        self.store([Outcome(_chord(r.group), states.SUCCESS, r.payload) for r in records])

    def chord_record(self, group: str) -> bytes | None:
        """What follows a chord; None if that has been sent, or has expired."""
        found = self.fetch([_chord(group)])
        return found[_chord(group)].payload if found else None

    def claim_chord(self, group: str) -> bool:
        """May what follows a chord be sent now?  False if it has been sent.

        Raises:
            OperationalError: somebody else is sending it, and it is to be asked again.
        """
        return True

    def forget_chord(self, group: str) -> None:
        """Delete all that is known of a chord."""
        self.forget([_chord(group)])
        self.forget_parts(group)

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        """Chords that have not been forgotten, in the order of their ids.

        Stores that cannot list them return none: nobody then sends what follows a chord
        whose own message has been lost.

        Args:
            after: only those whose ids come after this one.
            limit: how many at most.
        """
        return []

    def extend_chord(self, group: str, index: int) -> None:
        """One more member, by its place; the same one again changes nothing.

        Raises:
            ImproperlyConfigured: this store cannot do that.
        """
        raise ImproperlyConfigured(
            f"{type(self).__name__} cannot add members to a chord that has begun: set "
            "result_backend to a store that can, such as redis:// or sqlite://"
        )

    def save_group(self, group: str, payload: bytes) -> None:
        """Keep which results belong to a group, in place of what was kept before."""
        self.forget([_group(group)])
        self.store([Outcome(_group(group), states.SUCCESS, payload)])

    def restore_group(self, group: str) -> bytes | None:
        """What `save_group` has kept; None if that is nothing, or has expired."""
        found = self.fetch([_group(group)])
        return found[_group(group)].payload if found else None

    def delete_group(self, group: str) -> None:
        """Delete what `save_group` has kept; the results stay."""
        self.forget([_group(group)])

    @abstractmethod
    def cleanup(self) -> int:
        """Delete what has expired, and tell how many that were.

        Stores that expire by themselves have nothing to do here.
        """

    def close(self) -> None:
        """Let go of connections.  The store can be used again afterwards."""


def _chord(group: str) -> str:
    return f"{group}.chord"


def _group(group: str) -> str:
    return f"{group}.group"
