"""Connections are treated around tasks as Django treats them around requests.

Before a task those that are too old or broken are closed (``CONN_MAX_AGE``,
``CONN_HEALTH_CHECKS``) and the log of queries is emptied; after it the old ones are closed, and
caches let go of theirs.  The signals ``request_started`` and ``request_finished`` are not sent:
whoever listens to them means requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.cache import caches, close_caches
from django.db import close_old_connections, connections, reset_queries

from taskq.middleware import Middleware
from taskq.request import Request


class Connections(Middleware):
    """Looks after connections around every task that a worker runs.

    A task that is run eagerly, or drained by a test, shares the connections, and perhaps the
    transaction, of whoever called it: those are left alone.
    """

    def execute(self, request: Request, run: Callable[[], Any]) -> Any:
        """Around a plain function: in its own thread, whose connections it uses."""
        if request.is_eager or _in_transaction():
            return run()
        reset_queries()
        close_old_connections()
        try:
            return run()
        finally:
            close_old_connections()
            close_caches()

    async def aexecute(self, request: Request, run: Callable[[], Awaitable[Any]]) -> Any:
        """Around a coroutine: what it calls with `sync_to_async` has a thread of its own.

        Django's ASGI handler does the same for requests, so that tasks of one event loop do not
        wait for each other's queries.  The thread ends with the task, and so its connections
        are closed, or given back to their pool, whatever CONN_MAX_AGE says.
        """
        if request.is_eager:
            return await run()
        async with ThreadSensitiveContext() as context:
            try:
                return await run()
            finally:
                # Without a thread nothing was opened, and none has to be started for this.
                if context in SyncToAsync.context_to_thread_executor:
                    await sync_to_async(_close_thread)()


def _in_transaction() -> bool:
    """Has somebody begun a transaction in this thread, before the task?"""
    return any(each.in_atomic_block for each in connections.all(initialized_only=True))


def _close_thread() -> None:
    connections.close_all()
    close_caches()


def close_all(**kwargs: Any) -> None:
    """Close what was opened while the app was loaded, before a worker has children, and in them."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        # PostgreSQL's has one; its threads would keep children from being copies of this process.
        if (close_pool := getattr(connection, "close_pool", None)) is not None:
            close_pool()
    caches.close_all()
