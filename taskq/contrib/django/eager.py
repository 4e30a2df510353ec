"""Tasks that run eagerly see what their callers see: in tests, that is a transaction."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from taskq.eager import Eager

T = TypeVar("T")


class DjangoEager(Eager):
    """Keeps queries in the thread whose connection the caller uses."""

    def invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a task's function; what a coroutine does with `sync_to_async` is done here."""
        if inspect.iscoroutinefunction(function):
            return async_to_sync(function)(*args, **kwargs)
        return super().invoke(function, args, kwargs)

    async def aside(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call what blocks, in the thread of this code's queries."""
        return await sync_to_async(function)(*args, **kwargs)
