"""The connections of a process for publishing and declaring."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskq.exceptions import OperationalError
from taskq.stores.amqp.links import Link


class Links:
    """The connections of one process for publishing and declaring; any thread may take one.

    Args:
        make: makes a link that is not open yet.
        keep: how many are kept while they are not in use.
    """

    def __init__(self, make: Callable[[], Link], keep: int) -> None:
        self._make = make
        self._keep = keep
        self._free: list[Link] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @contextmanager
    def link(self) -> Iterator[Link]:
        """A link for the length of the block.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        link = self._take()
        try:
            if not link.alive:
                link.open()
            yield link
        except OperationalError:
            if not link.alive:
                self.close()  # the others are no better, and would only take time to say so
            raise
        finally:
            self._put(link)

    def _take(self) -> Link:
        with self._lock:
            if self._pid != os.getpid():  # what the parent has is the parent's
                self._free, self._pid = [], os.getpid()
            while self._free:
                link = self._free.pop()
                if link.alive:
                    return link
        return self._make()

    def _put(self, link: Link) -> None:
        with self._lock:
            if link.alive and len(self._free) < self._keep and self._pid == os.getpid():
                self._free.append(link)
                return
        link.close()

    def close(self) -> None:
        """Let go of all that are not in use."""
        with self._lock:
            free, self._free = self._free, []
        if self._pid == os.getpid():
            for link in free:
                link.close()
