"""The service: runs a scheduler until it is told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.beat.health import BeatHealth
from taskq.beat.scheduler import Scheduler
from taskq.beat.stores.base import ScheduleStore
from taskq.beat.stores.registry import open_store
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.schedules import ScheduleEntry, read_entries
from taskq.schedules.entry import MISSED

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.beat")

POLL = 0.5
"""Seconds between two looks at the store."""
_PAUSE = 1.0
"""Seconds between two attempts while the store, or the broker, is away."""
_COMPLAIN = 30.0
"""Seconds between two log lines about that."""


class Beat:
    """Sends the app's tasks when they are due.  Any number of them may run.

    Args:
        app: the app.
        schedule: a file for the schedule store; the setting ``beat_schedule_filename``.
        scheduler: the schedule store; the setting ``beat_scheduler``.
        max_interval: seconds between two looks at the store; the setting
            ``beat_max_loop_interval``.
        store: the schedule store itself.
        on_ready: called, in the thread of `run`, once it sends what is due.

    Raises:
        ImproperlyConfigured: an option has a value that makes no sense.
    """

    def __init__(
        self,
        app: TaskQ,
        *,
        schedule: str | None = None,
        scheduler: str | None = None,
        max_interval: float | None = None,
        store: ScheduleStore | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.app = app
        self._store = store
        self._on_ready = on_ready
        self._wish = scheduler, schedule
        self._poll = max_interval or app.conf.beat_max_loop_interval or POLL
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._complained = float("-inf")
        self._health = BeatHealth()
        self.scheduler: Scheduler | None = None
        if app.conf.beat_missed not in MISSED:
            raise ImproperlyConfigured(
                f"beat_missed={app.conf.beat_missed!r}: choose one of {', '.join(MISSED)}"
            )

    def entries(self) -> dict[str, ScheduleEntry]:
        """The entries that the app's code has."""
        self.app.load_modules()
        return {**read_entries(self.app.conf.beat_schedule), **self.app.periodic_entries}

    def prepare(self) -> tuple[dict[str, ScheduleEntry], ScheduleStore]:
        """Find entries and store, without connecting to anything; `run` does it too.

        Raises:
            ImproperlyConfigured: the store, or an entry, makes no sense.
        """
        with _without_collector():
            entries = self.entries()
        if self._store is None:
            self._store = open_store(self.app, *self._wish)
        return entries, self._store

    def run(self, embedded: bool = False) -> int:
        """Send what is due until stopped; blocks.

        Args:
            embedded: it runs within a worker.

        Returns:
            The exit status.

        Raises:
            OperationalError: the store cannot be used.
            ImproperlyConfigured: the store, or an entry, makes no sense.
        """
        entries, store = self.prepare()
        (signals.beat_embedded_init if embedded else signals.beat_init).send(self)
        self.scheduler = scheduler = Scheduler(self.app, store, entries, self._poll)
        try:
            with self._answering_probes(embedded), _SignalHandlers(self):
                with _without_collector():
                    scheduler.start()
                logger.info("beat: Starting... %d entries", len(scheduler.timetable.slots))
                self._ready.set()
                if self._on_ready is not None:
                    self._on_ready()
                self._loop(scheduler)
            logger.info("beat: Shutting down...")
        finally:
            store.close()
        return 0

    @contextmanager
    def _answering_probes(self, embedded: bool) -> Iterator[None]:
        """Answer probes, if a setting says where; within a worker, that one does."""
        address = self.app.conf.beat_health
        if not address or embedded:
            yield
            return
        # http.server is for those who are probed.
        from taskq.health import HealthServer

        server = HealthServer(address, lambda: self._health.look(self.health()))
        server.open()
        try:
            yield
        finally:
            server.close()

    def _loop(self, scheduler: Scheduler) -> None:
        away = False
        while not self._stop.is_set():
            try:
                rest = scheduler.tick()
            except OperationalError as exc:
                away, rest = True, _PAUSE
                self._complain(scheduler, exc)
                self._health.looks_again(rest, f"nothing can be sent: {exc}")
            else:
                self._health.looks_again(rest)
                if away:
                    away, self._complained = False, float("-inf")
                    logger.warning("beat: goes on")
            self._stop.wait(rest)

    def _complain(self, scheduler: Scheduler, exc: OperationalError) -> None:
        now = scheduler.monotonic()
        if now - self._complained >= _COMPLAIN:
            self._complained = now
            logger.error("beat: nothing can be sent, trying again every %g s: %s", _PAUSE, exc)

    def stop(self) -> None:
        """Ask it to stop; can be called from any thread."""
        self._health.stopping = True
        self._stop.set()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Block another thread until it runs; False if the time is over."""
        return self._ready.wait(timeout)

    async def serve(self) -> None:
        """Run within a worker, on a thread of its own, until cancelled.

        Raises:
            OperationalError: the store cannot be used.
            ImproperlyConfigured: the store, or an entry, makes no sense.
        """
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        running = asyncio.create_task(asyncio.to_thread(self.run, embedded=True))
        try:
            await asyncio.shield(running)
        finally:
            self.stop()
            await asyncio.wait([running])

    def health(self) -> Mapping[str, Any]:
        """How it does: entries, ticks sent, seconds that the last of them was late."""
        scheduler = self.scheduler
        if scheduler is None:
            return {"entries": 0, "sent": 0, "lateness": 0.0}
        return {
            "entries": len(scheduler.timetable.slots),
            "sent": scheduler.sent,
            "lateness": scheduler.lateness,
        }


@contextmanager
def _without_collector() -> Iterator[None]:
    """Make many objects that are no garbage: looking for it among them takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _SignalHandlers:
    """TERM and INT stop it, where it runs on the main thread."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self._before: dict[int, Any] = {}
        self._installed = threading.current_thread() is threading.main_thread()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._beat.stop()

    def __enter__(self) -> None:
        for number in self._NUMBERS if self._installed else ():
            # nohup(1) wants HUP ignored; a shell that starts it in the background ignores INT.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
