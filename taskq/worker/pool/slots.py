"""Shared memory: what each child is doing, readable when it cannot answer any more.

A slot belongs to one lane of one child at a time; a child has as many lanes as it can run
tasks at once.  The child writes in it which packet it has taken, which task it is running
since when, and the reports that it has not sent yet; the parent writes in it which task has
passed its soft limit, is to end, or holds up others.  What concerns the whole child stands in
the slot of its first lane.  Each word is stored with one machine instruction, so that the other
side never sees half of one.

Tasks are named by numbers that the pool gave them in the order of sending: those of a packet
follow each other, and a packet that was sent later has higher ones.

    0    number of the running task, 0 when idle         written by the child
    8    first number of the packet taken last           written by the child
    16   last number of that packet                      written by the child
    24   when the running task started (monotonic)       written by the child
    32   number whose soft limit has passed              written by the parent
    40   held reports: number << 32 | length in bytes    written by the child
    48   how often the held reports were sent            written by the child
    56   number behind which its packet is recalled      written by the parent
    64   1 if the child is to make way                   written by the parent
    72   number of the task that is to end               written by the parent
    80   how many lanes the child may use                written by the parent
    128… the held reports: a MessagePack array
"""

from __future__ import annotations

import mmap
import os
import struct

from taskq.worker.pool.packets import LARGE

LARGE_SLOT = LARGE + 4096
"""Bytes of a slot of a child that has no other."""
SMALL_SLOT = 32 * 1024
"""Bytes of each slot of a child that has many."""
_HEADER = 128
_ARRAY_HEADER = struct.Struct(">BI")
_ARRAY = 0xDD
_NUMBER, _FIRST, _LAST, _STARTED, _LIMITED, _HELD, _SENT, _RECALLED = range(8)
_LEAVES, _ENDED, _WIDTH = range(8, 11)


class SlotTable:
    """The shared memory of a pool.

    Args:
        count: how many slots; memory that is never touched costs nothing.
        size: bytes of each.
        fd: the memory of another process's table, to open instead of making one.
    """

    def __init__(self, count: int, size: int = LARGE_SLOT, fd: int | None = None) -> None:
        self.count = count
        self.size = size
        if fd is None:
            fd = os.memfd_create("taskq-slots")
            os.ftruncate(fd, count * size)
        self.fd = fd
        self._memory = mmap.mmap(fd, count * size)
        self._words = memoryview(self._memory).cast("Q")
        self._times = memoryview(self._memory).cast("d")

    def release_descriptor(self) -> None:
        """Close the descriptor, once all who need it have the memory mapped."""
        os.close(self.fd)

    def close(self) -> None:
        """Give the memory back, when nobody looks into it any more."""
        self._words.release()
        self._times.release()
        self._memory.close()  # and the descriptor that it keeps of its own

    def slots(self, child: int, lanes: int) -> list[Slot]:
        """The places of a child's lanes."""
        return [self.slot(child * lanes + lane) for lane in range(lanes)]

    def slot(self, index: int) -> Slot:
        """One lane's place."""
        return Slot(self._memory, self._words, self._times, index, self.size)


class Slot:
    """One lane's place in a `SlotTable`."""

    __slots__ = (
        "_base",
        "_count",
        "_length",
        "_memory",
        "_start",
        "_times",
        "_words",
        "capacity",
    )

    def __init__(
        self,
        memory: mmap.mmap,
        words: memoryview[int],
        times: memoryview[float],
        index: int,
        size: int,
    ) -> None:
        # All that is held goes out as one packet, which is to be no large one.
        self.capacity = min(LARGE, size - _HEADER) - _ARRAY_HEADER.size
        self._memory = memory
        self._words = words
        self._times = times
        self._base = index * size // 8
        self._start = index * size + _HEADER
        self._count = 0
        self._length = 0

    # What the child says

    def take(self, first: int, last: int) -> None:
        """The child has taken a packet with these numbers."""
        words, base = self._words, self._base
        words[base + _LAST] = last
        words[base + _FIRST] = first

    def begin(self, number: int, now: float) -> None:
        """The child starts to run a task."""
        self._times[self._base + _STARTED] = now
        self._words[self._base + _NUMBER] = number

    def end(self) -> None:
        """The child runs nothing."""
        self._words[self._base + _NUMBER] = 0

    def hold(self, report: bytes) -> None:
        """Keep an encoded report until it is sent; there must be room for it."""
        start = self._start + _ARRAY_HEADER.size + self._length
        self._memory[start : start + len(report)] = report
        self._count += 1
        self._length += len(report)
        # Stored last, and both at once: what the parent may read is complete.
        self._words[self._base + _HELD] = self._count << 32 | self._length

    @property
    def held_count(self) -> int:
        """How many reports this process holds."""
        return self._count

    def room(self) -> int:
        """How many more bytes of reports can be held."""
        return self.capacity - self._length

    def sending(self) -> memoryview[int]:
        """What is held, as one packet."""
        _ARRAY_HEADER.pack_into(self._memory, self._start, _ARRAY, self._count)
        end = self._start + _ARRAY_HEADER.size + self._length
        return memoryview(self._memory)[self._start : end]

    def sent(self) -> None:
        """What was held has been sent."""
        self._words[self._base + _HELD] = 0
        self._words[self._base + _SENT] += 1
        self._count = self._length = 0

    def is_recalled(self, number: int) -> bool:
        """Must this task, of the packet in hand, not be begun?"""
        return self._words[self._base + _FIRST] <= self.recalled < number

    # What the parent reads and says

    @property
    def width(self) -> int:
        """How many lanes its child may use."""
        return self._words[self._base + _WIDTH]

    @width.setter
    def width(self, width: int) -> None:
        self._words[self._base + _WIDTH] = width

    @property
    def ended(self) -> int:
        """The number of the task that is to end."""
        return self._words[self._base + _ENDED]

    def end_it(self, number: int) -> None:
        """Tell the child to end this task, if it can without ending others."""
        self._words[self._base + _ENDED] = number

    @property
    def leaves(self) -> bool:
        """Is the child to make way, once it has run what it has taken?"""
        return self._words[self._base + _LEAVES] != 0

    def dismiss(self) -> None:
        """Tell the child to make way."""
        self._words[self._base + _LEAVES] = 1

    @property
    def recalled(self) -> int:
        """The number behind which its packet is recalled."""
        return self._words[self._base + _RECALLED]

    def recall(self, number: int) -> None:
        """Tell the child to begin nothing of its packet that comes after this task."""
        self._words[self._base + _RECALLED] = number

    @property
    def number(self) -> int:
        """The running task's number, or 0."""
        return self._words[self._base + _NUMBER]

    @property
    def taken(self) -> tuple[int, int]:
        """First and last number of the packet that was taken last."""
        return self._words[self._base + _FIRST], self._words[self._base + _LAST]

    @property
    def started(self) -> float:
        """When the running task started, by the monotonic clock."""
        return self._times[self._base + _STARTED]

    @property
    def limited(self) -> int:
        """The number whose soft limit has passed."""
        return self._words[self._base + _LIMITED]

    def limit(self, number: int) -> None:
        """Tell the child that this task has passed its soft limit."""
        self._words[self._base + _LIMITED] = number

    def held(self) -> bytes | None:
        """A copy of what the child holds; None if it was just changing."""
        base = self._base
        sent, held = self._words[base + _SENT], self._words[base + _HELD]
        if not held:
            return None
        # Not the header in the memory, which the child may be writing just now.
        count, length = held >> 32, held & 0xFFFF_FFFF
        start = self._start + _ARRAY_HEADER.size
        copy = _ARRAY_HEADER.pack(_ARRAY, count) + self._memory[start : start + length]
        unchanged = self._words[base + _SENT] == sent and self._words[base + _HELD] >= held
        return copy if unchanged else None

    def clear(self) -> None:
        """Make it ready for another child."""
        for word in range(_HEADER // 8):
            self._words[self._base + word] = 0
        self._count = self._length = 0
