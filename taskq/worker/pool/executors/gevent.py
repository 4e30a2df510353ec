"""The gevent pool's executor."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from taskq.worker.pool.executors.green import GreenExecutor


class GeventExecutor(GreenExecutor):
    """Runs tasks in greenlets of gevent."""

    bootstrap = "from gevent import monkey; monkey.patch_all()"

    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        import gevent

        gevent.spawn(function, *args)

    def wait_for(self, fd: int) -> None:
        from gevent.socket import wait_read

        wait_read(fd)

    def in_hub(self, function: Callable[[], None]) -> None:
        import gevent

        gevent.get_hub().loop.run_callback(function)

    def current(self) -> Any:
        import gevent

        return gevent.getcurrent()

    @staticmethod
    def open_socket(fd: int) -> socket.socket:
        from gevent.monkey import get_original

        found: socket.socket = get_original("socket", "socket")(fileno=fd)
        return found
