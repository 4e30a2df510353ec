"""How a worker is stopped: who asks for it, and how much time is left for what runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from taskq.exceptions import ImproperlyConfigured

logger = logging.getLogger("taskq.worker")

_SAME_SIGNAL = 0.1
"""Seconds within which a signal that comes again is the same: programs like timeout(1) send
it to the process and to its group."""
_REMAP = "REMAP_SIGTERM"
"""The environment variable that has TERM mean QUIT, for platforms that send nothing else."""


class Halt:
    """What has been asked for: a warm stop, a cold one, or at once.

    Args:
        soft_timeout: seconds that running tasks have before a cold stop is one.
        can_restart: HUP means a restart.

    Attributes:
        restarts: once stopped, the worker is to start anew.
        signal: the name of the signal that has asked for it last.
    """

    def __init__(self, soft_timeout: float = 0.0, can_restart: bool = False) -> None:
        self._soft_timeout = soft_timeout
        self._can_restart = can_restart
        self.restarts = False
        self.signal = "SIGTERM"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warm_requested = self._cold_requested = False
        self._last_signal = (0, 0.0)

    def attach(self) -> None:
        """Belong to the event loop that is running; what was asked for before counts."""
        self._loop = asyncio.get_running_loop()
        self._warm, self._cold, self._at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
        if self._warm_requested:
            self._stop(self._cold_requested)

    @property
    def is_cold(self) -> bool:
        """Was a cold stop asked for?"""
        return self._cold_requested

    async def asked(self) -> None:
        """Wait until the worker is to stop."""
        await self._warm.wait()

    async def no_more_time(self) -> None:
        """Wait until what runs is not to be waited for any longer."""
        await self._cold.wait()

    async def at_once(self) -> None:
        """Wait until not even the broker is to be waited for."""
        await self._at_once.wait()

    def stop(self, cold: bool = False) -> None:
        """Ask for it; can be called from any thread.

        Args:
            cold: do not wait for what is running, or for no longer than the soft timeout.
        """
        self._warm_requested = True
        self._cold_requested = self._cold_requested or cold
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop, cold)
            except RuntimeError:
                pass  # the loop is closed: it has stopped

    def restart(self) -> None:
        """Ask for a warm stop, after which the worker starts anew."""
        self.restarts = True
        self.stop()

    def _stop(self, cold: bool) -> None:
        self._warm.set()
        if cold and self._soft_timeout and self._loop is not None:
            self._loop.call_later(self._soft_timeout, self._cold.set)
        elif cold:
            self._cold.set()

    def on_signal(self, number: int) -> None:
        """Do what a signal asks for."""
        name = signal.Signals(number).name
        last, self._last_signal = self._last_signal, (number, time.monotonic())
        if last[0] == number and self._last_signal[1] - last[1] < _SAME_SIGNAL:
            return
        self.signal = name
        number = remapped(number)
        if self._cold_requested and not self._cold.is_set():
            logger.warning("%s: cold shutdown, what is running goes back", name)
            self._cold.set()
        elif self._cold_requested:
            logger.warning("%s: shutdown at once, what is not written yet is left behind", name)
            self._at_once.set()
        elif number == signal.SIGQUIT or self._warm_requested:
            self._say_cold(name)
            self.stop(cold=True)
        elif number == signal.SIGHUP and self._can_restart:
            logger.warning("%s: restart, when what is running has ended", name)
            self.restart()
        else:
            logger.warning("%s: warm shutdown, waiting for what is running", name)
            self.stop()

    def _say_cold(self, name: str) -> None:
        if self._soft_timeout:
            logger.warning(
                "%s: soft shutdown, what still runs in %g seconds goes back",
                name,
                self._soft_timeout,
            )
        else:
            logger.warning("%s: cold shutdown, what is running goes back", name)


def remapped(number: int) -> int:
    """The signal that one stands for.

    Raises:
        ImproperlyConfigured: the environment variable names no signal.
    """
    text = os.environ.get(_REMAP, "")
    if not text or number != signal.SIGTERM:
        return number
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name not in signal.Signals.__members__:
        raise ImproperlyConfigured(f"{_REMAP}={text!r} names no signal: SIGQUIT is one")
    return signal.Signals[name]


class SignalHandlers:
    """The worker's signal handlers, where it runs on the main thread.

    Args:
        handlers: by signal, what is called on the running event loop.
    """

    def __init__(self, handlers: dict[int, Callable[[int], None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._handlers = handlers
        if threading.current_thread() is not threading.main_thread():
            self._handlers = {}

    def __enter__(self) -> None:
        for number, handle in self._handlers.items():
            # nohup(1) wants HUP ignored. A shell that starts a program in the background lets it
            # ignore INT and QUIT, which is no reason not to stop when somebody sends them.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, handle, number)

    def __exit__(self, *exc_info: object) -> None:
        for number in self._handlers:
            self._loop.remove_signal_handler(number)


STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""The signals that stop a worker."""
