"""Which deliveries of a channel are open, and how few frames acknowledge some of them."""

from __future__ import annotations

from collections.abc import Iterable


class OpenTags:
    """The delivery tags of one channel that are not acknowledged yet, in their order.

    Acknowledging with the flag ``multiple`` takes everything up to a tag: one frame for a
    hundred messages.  Above the lowest tag that is still at work each needs its own.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, tag: int) -> bool:
        return tag in self._open

    def add(self, tag: int) -> None:
        """A message has come; tags rise."""
        self._open[tag] = None

    def drop(self, tag: int) -> bool:
        """It was given back; False if it is not open."""
        return self._open.pop(tag, self) is None

    def finish(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Acknowledge tags.

        Returns:
            The tag up to which all are acknowledged, or 0, and those above it.
        """
        done = {tag for tag in tags if tag in self._open}
        up_to = 0
        for tag in self._open:
            if tag not in done:
                break
            up_to = tag
        for tag in done:
            del self._open[tag]
        return up_to, sorted(tag for tag in done if tag > up_to)
