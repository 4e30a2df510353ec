"""Arguments that are computed when a task is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class BeatLazyFunc:
    """An argument of a schedule entry that is called for each tick, as in Celery.

    Args:
        func: gives the argument.
        args: positional arguments of `func`.
        kwargs: keyword arguments of `func`.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        """The argument."""
        return self._func(*self._args, **self._kwargs)

    delay = __call__

    def __repr__(self) -> str:
        return f"<BeatLazyFunc: {self._func!r}>"


def evaluated(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as they are now."""
    return (
        tuple(a() if isinstance(a, BeatLazyFunc) else a for a in args),
        {k: v() if isinstance(v, BeatLazyFunc) else v for k, v in kwargs.items()},
    )
