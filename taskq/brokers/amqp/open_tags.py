"""Which deliveries of a channel are open, and how few frames acknowledge some of them."""

from __future__ import annotations

from collections.abc import Iterable

PATIENCE = 0.05
"""Seconds for which what is done waits for what came before it."""


class OpenTags:
    """The delivery tags of one channel that are not acknowledged yet, in their order.

    Acknowledging with the flag ``multiple`` takes everything up to a tag: one frame for a
    hundred messages.  Above the lowest tag that is still at work each needs its own.  So what
    is done waits a moment for that tag, unless it is seen to take long.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._done: set[int] = set()
        self._lowest, self._since = 0, 0.0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, tag: int) -> bool:
        return tag in self._open and tag not in self._done

    def add(self, tag: int) -> None:
        """A message has come; tags rise."""
        self._open[tag] = None

    def drop(self, tag: int) -> bool:
        """It was given back; False if it is not open."""
        return tag not in self._done and self._open.pop(tag, self) is None

    def finish(self, tags: Iterable[int]) -> None:
        """These are to be acknowledged."""
        self._done.update(tag for tag in tags if tag in self._open)

    def acknowledge(self, now: float, most: int) -> tuple[int, list[int]]:
        """What is acknowledged now.

        Args:
            now: the time, of any clock.
            most: how many may wait.

        Returns:
            The tag up to which all are, or 0, and those above it.
        """
        up_to, lowest = 0, 0
        for tag in self._open:
            if tag not in self._done:
                lowest = tag
                break
            up_to = tag
        if up_to:
            self._forget([tag for tag in self._done if tag <= up_to])
        if lowest != self._lowest:
            self._lowest, self._since = lowest, now
        if len(self._done) <= most and now - self._since < PATIENCE:
            return up_to, []
        others = sorted(self._done)
        self._forget(others)
        return up_to, others

    def _forget(self, tags: Iterable[int]) -> None:
        for tag in tags:
            del self._open[tag]
            self._done.discard(tag)

    @property
    def waiting(self) -> bool:
        """Is anything done that is not acknowledged?"""
        return bool(self._done)
