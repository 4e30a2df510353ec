"""A thread that runs packets, and into whose task an exception can be raised from outside."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from taskq.exceptions import SoftTimeLimitExceeded, Terminated
from taskq.worker.pool.child import SHORT, Packet
from taskq.worker.pool.coroutines import Driver
from taskq.worker.pool.executors.base import interruption

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child
    from taskq.worker.pool.lane import Lane

# "Threads" in the C API's reference: raises an exception in another thread at its next
# bytecode; without an exception, takes back one that has not been raised yet.
_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.c_void_p)


class InterruptibleThread:
    """Runs packets in one lane.

    Args:
        child: the process that it belongs to, which ends when a task wants to exit.
        done: called in the thread after each packet.
    """

    def __init__(self, child: Child, done: Callable[[], None]) -> None:
        self._child = child
        self._done = done
        self._inbox: SimpleQueue[tuple[Lane, Packet] | None] = SimpleQueue()
        self._driver = Driver()
        # Re-entrant: a signal handler that holds it may be interrupted by the next signal.
        self._lock = threading.RLock()
        self._invoking = False
        # A daemon: a process that ends does not wait for what has been given up.
        self._thread = threading.Thread(target=self._work, name="taskq-lane", daemon=True)
        self._thread.start()

    def start(self, lane: Lane, packet: Packet) -> None:
        """Run a packet."""
        self._inbox.put((lane, packet))

    def stop(self) -> None:
        """End the thread, when all that it was given has run."""
        self._inbox.put(None)

    def _work(self) -> None:
        while (given := self._inbox.get()) is not None:
            lane, (how, items) = given
            self._invoking = False
            try:
                lane.serve(how == SHORT, items)
            except BaseException as exc:  # SystemExit and its like
                self._child.quit(lane, exc)
            self._done()

    def invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a task's function, which can be interrupted until it returns."""
        try:
            self._invoking = True
            value = function(*args, **kwargs)
            if type(value) is CoroutineType:
                value = self._driver.run(value)
            return value
        finally:
            self._leave()

    def _leave(self) -> None:
        """From here on nothing is raised any more."""
        while True:
            try:
                with self._lock:
                    self._invoking = False
                    _set_async_exc(threading.get_ident(), None)
                return
            except (SoftTimeLimitExceeded, Terminated):
                pass  # too late: it has returned

    def interrupt(self, lane: Lane) -> None:
        """Raise in its task what the parent wants to be raised; called on the main thread."""
        with self._lock:
            error = interruption(lane.slot)
            if error is None or not self._invoking:
                return
            if self._driver.running:
                self._driver.interrupt(error())
            else:
                _set_async_exc(self._thread.ident or 0, id(error))
