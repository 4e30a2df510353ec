"""Cameras: classes that are given what is known of workers and tasks, now and then.

class Camera(Polaroid):
def on_shutter(self, state):
print(state.event_count, len(state.alive_workers()))

taskq -A proj events --camera proj.monitor:Camera --frequency 2
"""

from __future__ import annotations

import logging
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.events.state import State

logger = logging.getLogger("taskq.events")

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Polaroid:
    """A camera; subclass it.

    Args:
        state: what is known.
        freq: seconds between two snapshots.
        maxrate: snapshots at most, such as ``10/m``.
        cleanup_freq: seconds between two calls of `on_cleanup`.

    Attributes:
        clear_after: forget tasks that have ended, and workers, after each snapshot.
    """

    clear_after = False

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
    ) -> None:
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self._pause = seconds_between(maxrate)
        self._last = float("-inf")
        self._cleaned = time.monotonic()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def on_shutter(self, state: State) -> None:
        """A snapshot; nothing changes until it returns."""

    def on_cleanup(self) -> None:
        """Time to delete what is old, where snapshots are kept."""

    def shutter(self) -> None:
        """Take a snapshot, unless there have been too many."""
        now = time.monotonic()
        if now - self._last < self._pause:
            return
        self._last = now
        self.state.freeze_while(self.on_shutter, self.state, clear_after=self.clear_after)

    capture = shutter

    def cleanup(self) -> None:
        """Delete what is old."""
        self.on_cleanup()

    def install(self) -> None:
        """Take snapshots from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="taskq-camera", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self.freq):
            try:
                self.shutter()
                if time.monotonic() - self._cleaned >= self.cleanup_freq:
                    self._cleaned = time.monotonic()
                    self.cleanup()
            except Exception:
                logger.exception("the camera %s has failed; it goes on", type(self).__name__)

    def cancel(self) -> None:
        """Take no more snapshots."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5)

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()


def seconds_between(rate: str | float | None) -> float:
    """Seconds between two of something that may happen so often.

    Args:
        rate: a number a second, or text such as ``10/m``; None or 0 is as often as one likes.

    Raises:
        ImproperlyConfigured: it is none.
    """
    if not rate:
        return 0.0
    number, _, unit = str(rate).partition("/")
    try:
        count = float(number)
        return _SECONDS[unit or "s"] / count
    except (ValueError, KeyError, ZeroDivisionError):
        raise ImproperlyConfigured(
            f"{rate!r} is no rate: write for example 10/s, 100/m or 1000/h"
        ) from None


def find_camera(name: str) -> type[Any]:
    """The class that a name means: ``module:Class`` or ``module.Class``.

    Raises:
        ImproperlyConfigured: there is no such class.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    if not module or not attribute:
        raise ImproperlyConfigured(f"camera {name!r}: write module:Class")
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise  # it is there, and misses another one
        raise ImproperlyConfigured(f"camera {name!r}: there is no module {exc.name}") from exc
    if not isinstance(found, type):
        raise ImproperlyConfigured(f"camera {name!r}: {module} has no class {attribute}")
    return found


def take_snapshots(
    app: TaskQ,
    camera: str | type[Any],
    frequency: float = 1.0,
    maxrate: str | None = None,
    timeout: float | None = None,
) -> None:
    """Listen to events, and let a camera take snapshots of what is known by them.

    Args:
        app: whose events.
        camera: the class, or its name.
        frequency: seconds between two snapshots.
        maxrate: snapshots at most, such as ``10/m``.
        timeout: seconds without an event after which to end; None goes on.

    Raises:
        ImproperlyConfigured: there is no such camera.
        OperationalError: the broker cannot be reached.
    """
    made = find_camera(camera) if isinstance(camera, str) else camera
    state = app.events.State()
    taking: Any = made(state, freq=frequency, maxrate=maxrate)
    taking.install()
    try:
        app.events.Receiver(handlers={"*": state.event}).capture(timeout=timeout)
    except TimeoutError:
        pass
    finally:
        taking.cancel()
