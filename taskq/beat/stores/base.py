"""The contract of a schedule store: what any number of beats ask of the one place they share.

A store has one row for each entry of the schedule, the `Record`.  What makes each tick run
once is `ScheduleStore.claim`: whoever moves a row from one due time to the next has the tick,
and its messages are written in the same step.  There is no leader, no election, and no lock
that a beat could take to its grave.

Where the messages go in that step is the store's own affair, and `ScheduleStore.sends` says it:

* Into the broker's queues, if the broker is the same store.  Nothing can come between.
* Into the *outbox*, otherwise.  Beats take messages from it, for as long as a lease lasts,
  publish them, and report them as sent.  If a beat dies meanwhile, another one publishes the
  same messages when the lease has ended; they carry a key (`TaskMessage.once`) that SQLite,
  Redis and the memory broker accept once.  Other messages need none.

Methods block, and may be called from any thread.  A new store is one module that implements
`ScheduleStore` and passes ``tests/conformance/test_schedule_stores.py``.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import msgspec

from taskq.message import TaskMessage

IN_CODE = "code"
"""`Record.source` of an entry that the app's code has."""
IN_STORE = "store"
"""`Record.source` of an entry that only the store has."""


class Record(msgspec.Struct):
    """What a store keeps of one entry; times are Unix times in seconds.

    Attributes:
        name: of the entry.
        definition: what the entry says, as JSON.
        source: whether the entry is written in code, or lives here alone.
        revision: changes with the definition; a beat with another one lets the entry be.
        enabled: whether it runs.
        due: when it runs next; None if never again.
        last_due: the last tick that was claimed; no tick up to it is ever claimed again.
        last_run: when a tick was last sent.
        runs: how many ticks were sent.
        missed: how many ticks were not, because it was too late for them.
        failures: how many could not be made into a message.
        lateness: seconds between the last run and its due time.
        error: why the last tick failed; empty if it did not.
    """

    name: str
    definition: bytes
    source: str
    revision: str
    enabled: bool = True
    due: float | None = None
    last_due: float | None = None
    last_run: float | None = None
    runs: int = 0
    missed: int = 0
    failures: int = 0
    lateness: float = 0.0
    error: str = ""


class Claim(msgspec.Struct, gc=False):
    """A step of one entry, from a due time to a later one, with all that it sends.

    Attributes:
        name: of the entry.
        revision: that the row must have.
        due: that the row must have.
        last: the last tick of this step.
        next_due: that the row gets.
        messages: what is sent.
        runs: ticks that are sent.
        missed: ticks that are not.
        failures: ticks that could not be made into a message.
        now: the time.
        lateness: seconds that the last of them is late.
        error: why it failed.
    """

    name: str
    revision: str
    due: float
    last: float
    next_due: float | None
    messages: Sequence[TaskMessage] = ()
    runs: int = 0
    missed: int = 0
    failures: int = 0
    now: float = 0.0
    lateness: float = 0.0
    error: str = ""


class Held(msgspec.Struct, gc=False):
    """A message of the outbox, in the hands of whoever took it.

    Attributes:
        tag: what the store knows it by.
        packed: the message as `taskq.message.pack` made it.
    """

    tag: object
    packed: bytes


_BORN_SHIFT = 20


def new_version() -> int:
    """The number of the first edit of a store; each further edit counts it up.

    The upper bits are random, so that a store which has lost everything, and begins anew, is
    known by them.
    """
    return int.from_bytes(os.urandom(5)) << _BORN_SHIFT | 1


def version_text(version: int) -> str:
    """``<birth>.<edits>``; the first part changes when the store was made anew."""
    return f"{version >> _BORN_SHIFT:x}.{version & (1 << _BORN_SHIFT) - 1}"


class ScheduleStore(ABC):
    """The rows of one app.

    Attributes:
        sends: `claim` puts messages into the broker's queues; otherwise into the outbox.
    """

    sends: bool = False

    @abstractmethod
    def poll(self) -> tuple[float, str]:
        """What time it is, and a text that changes when entries have been edited.

        The text is `version_text` of a number that begins at `new_version`.

        The time is that of the clock which all beats of this store share, as far as there is
        one; a claim of a tick before its time is refused by it.

        Raises:
            OperationalError: the store cannot be reached, read or written.
        """

    @abstractmethod
    def load(self) -> list[Record]:
        """All rows."""

    @abstractmethod
    def read(self, names: Sequence[str]) -> list[Record]:
        """The rows of these entries, as far as they are there."""

    @abstractmethod
    def put(self, records: Sequence[Record]) -> None:
        """Write rows that are not there, or have another revision.

        Of a row that is there, definition, source, revision and due time are replaced, and its
        counts are kept.  A row of the same revision stays as it is: beats that start together
        write the same rows, and some of them may have been claimed already.
        """

    @abstractmethod
    def remove(self, names: Sequence[str]) -> int:
        """Delete rows; how many were there."""

    @abstractmethod
    def enable(self, name: str, due: float | None) -> bool:
        """Let an entry run again; False if it is not there.

        Args:
            name: of the entry.
            due: its next run, unless it is enabled already.
        """

    @abstractmethod
    def disable(self, name: str) -> bool:
        """Let an entry rest; False if it is not there."""

    @abstractmethod
    def reset(self, name: str, due: float | None, next_due: float | None) -> bool:
        """Give a row another due time, and forget what has run last: the clock was set back.

        Args:
            name: of the entry.
            due: that it must have.
            next_due: that it gets.

        Returns:
            Whether it had that due time.
        """

    @abstractmethod
    def claim(self, claims: Sequence[Claim]) -> set[str]:
        """Take ticks: of each step all or nothing, together with its messages.

        A step counts if its row has the claim's due time and revision and is enabled, and if
        `Claim.last` comes after `Record.last_due`.

        Returns:
            The names of those that count.

        Raises:
            OperationalError: the store cannot be reached or written; nothing counts, or it
                counts and the answer was lost, which `read` shows.
            QueueNotFound: nothing is bound to the exchange of a message; nothing counts.
        """

    def take(self, limit: int) -> list[Held]:
        """Take messages of the outbox that nobody holds, for as long as a lease lasts."""
        return []

    def sent(self, held: Sequence[Held]) -> None:
        """Delete messages from the outbox: they are published."""

    def close(self) -> None:
        """Let go of connections.  The store can be used again afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
