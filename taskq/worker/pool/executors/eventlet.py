"""The eventlet pool's executor."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from taskq.worker.pool.executors.green import GreenExecutor


class EventletExecutor(GreenExecutor):
    """Runs tasks in green threads of eventlet."""

    # Whoever has chosen it need not be told in every process that it is no longer developed.
    bootstrap = (
        "import warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    import eventlet\n"
        "    eventlet.monkey_patch()"
    )

    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        import eventlet

        eventlet.spawn_n(function, *args)

    def wait_for(self, fd: int) -> None:
        from eventlet.hubs import trampoline

        trampoline(fd, read=True)

    def in_hub(self, function: Callable[[], None]) -> None:
        from eventlet.hubs import get_hub

        get_hub().schedule_call_global(0, function)

    def current(self) -> Any:
        import eventlet

        return eventlet.getcurrent()

    @staticmethod
    def open_socket(fd: int) -> socket.socket:
        found: socket.socket = _original("socket").socket(fileno=fd)
        return found


def _original(name: str) -> Any:
    """A module as it was before it was patched."""
    from eventlet.patcher import original

    return original(name)
